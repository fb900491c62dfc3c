#!/bin/sh
# Step 5: the root's revocation list, good for a year: of the certificates in revoked.pem, if there are any.
set -eu
cd "$CEREMONY_DIR"
template=$(mktemp)
trap 'rm -f "$template"' EXIT
# Seconds rise with every list.
cat > "$template" <<END
crl_next_update = 365
crl_number = $(date +%s)
END
revoked=
[ ! -e revoked.pem ] || revoked="--load-certificate revoked.pem"
# shellcheck disable=SC2086
certtool --provider "$CEREMONY_MODULE" --generate-crl --hash SHA384 --template "$template" $revoked \
  --load-ca-certificate root.pem --load-ca-privkey "pkcs11:token=$CEREMONY_TOKEN;object=root;type=private" \
  --outder --outfile root.crl.new
mv root.crl.new root.crl
certtool --crl-info --inder --infile root.crl
