#!/bin/bash
# Makes what the services need before they start and keeps what is there: running it again changes nothing.
# With --renew-certificates the certificates are made anew; the encryption key and the password never are.
set -euo pipefail

SECRETS=/secrets
# The user of the PgLens images.
PGLENS_USER=65532
umask 077

place() { # MODE OWNER FROM TO: whole or not at all
  install -m "$1" "$3" "$4.new"
  chown "$2" "$4.new"
  mv "$4.new" "$4"
}

if [[ ! -s $SECRETS/storage/password ]]; then
  pglens key generate | tr -d '\n+/=' >/tmp/password
  # Readable for all: PostgreSQL's user id depends on the image. Only storage and the control plane mount it.
  place 0444 root /tmp/password "$SECRETS/storage/password"
fi

if [[ ! -s $SECRETS/control-plane/keys ]]; then
  pglens key generate >/tmp/keys
  place 0400 $PGLENS_USER /tmp/keys "$SECRETS/control-plane/keys"
fi

# The last file written: with it there, all is there. The authority's own key is kept nowhere.
if [[ ${1:-} == --renew-certificates || ! -s $SECRETS/data-plane-2/ca.pem ]]; then
  pglens certificates --out /tmp/certificates --control-plane-name control-plane \
    --data-plane data-plane-1 --data-plane data-plane-2
  for plane in control-plane data-plane-1 data-plane-2; do
    for file in "$plane.pem" "$plane-key.pem" ca.pem; do
      place 0400 $PGLENS_USER "/tmp/certificates/$file" "$SECRETS/$plane/$file"
    done
  done
fi
rm -rf /tmp/password /tmp/keys /tmp/certificates
