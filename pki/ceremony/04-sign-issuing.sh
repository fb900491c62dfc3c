#!/bin/sh
# Step 4: an issuing CA's certificate for issuing.csr.pem, good for five years, with no CA below it.
set -eu
cd "$CEREMONY_DIR"
certtool --crq-info --infile issuing.csr.pem
[ "${1:-}" = --yes ] || { printf 'sign this? (yes) '; read -r answer; [ "$answer" = yes ]; }
template=$(mktemp)
trap 'rm -f "$template"' EXIT
cat > "$template" <<END
expiration_days = 1825
ca
path_len = 0
cert_signing_key
crl_signing_key
crl_dist_points = "$CEREMONY_CRL"
END
certtool --provider "$CEREMONY_MODULE" --generate-certificate --hash SHA384 --template "$template" \
  --load-request issuing.csr.pem --load-ca-certificate root.pem \
  --load-ca-privkey "pkcs11:token=$CEREMONY_TOKEN;object=root;type=private" --outfile issuing.pem.new
mv issuing.pem.new issuing.pem
cat issuing.pem root.pem > chain.pem
certtool --certificate-info --infile issuing.pem
