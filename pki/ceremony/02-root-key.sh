#!/bin/sh
# Step 2: the root's key, made in the token. Refuses if there is one.
set -eu
p11tool="p11tool --provider $CEREMONY_MODULE --login"
if $p11tool --list-keys "pkcs11:token=$CEREMONY_TOKEN;object=root" 2>/dev/null | grep -q "Label: root"; then
  echo "the token has a key \`root\` already: nothing is made" >&2
  exit 1
fi
$p11tool --generate-privkey=ecc --curve secp384r1 --label root --mark-private --mark-sign "pkcs11:token=$CEREMONY_TOKEN" >/dev/null
$p11tool --list-keys "pkcs11:token=$CEREMONY_TOKEN;object=root"
