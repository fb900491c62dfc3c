#!/bin/sh
# Step 3: the root's certificate, good for twenty years. Refuses to replace one.
set -eu
cd "$CEREMONY_DIR"
[ ! -e root.pem ] || { echo "there is a root.pem already: nothing is made" >&2; exit 1; }
case $CEREMONY_NAME in
*'"'*|*\\*) echo "CEREMONY_NAME has a quote or a backslash: use a name without" >&2; exit 1 ;;
esac
template=$(mktemp)
trap 'rm -f "$template"' EXIT
cat > "$template" <<END
cn = "$CEREMONY_NAME"
expiration_days = 7300
ca
cert_signing_key
crl_signing_key
END
certtool --provider "$CEREMONY_MODULE" --generate-self-signed --hash SHA384 --template "$template" \
  --load-privkey "pkcs11:token=$CEREMONY_TOKEN;object=root;type=private" \
  --load-pubkey "pkcs11:token=$CEREMONY_TOKEN;object=root;type=public" --outfile root.pem.new
mv root.pem.new root.pem
certtool --fingerprint --hash SHA256 --infile root.pem
