#!/bin/sh
# The main job on a sample mail: delivered as an MTA does it, mirrored as plain files.
# Everything happens in a new directory, which is shown and kept.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
"$here/../.ci/venv" cli
PATH=$(cd "$here/../.venv/bin" && pwd):$PATH
work=$(mktemp -d)
cd "$work"
MDIRD=file://$work/mdir
export MDIRD

show() {
    echo
    echo "\$ $*"
}

echo "in $work, with MDIRD=$MDIRD"
show "mdir-smtp account add jojolapin@machin.com"
mdir-smtp account add jojolapin@machin.com
show "mdir-smtp deliver --recipient jojolapin@machin.com < sample.eml"
mdir-smtp deliver --recipient jojolapin@machin.com <"$here/sample.eml"
show "mdir sync SMTP/Accounts/jojolapin@machin.com ./inbox"
mdir sync SMTP/Accounts/jojolapin@machin.com ./inbox
show "ls -A inbox inbox/.meta"
ls -A inbox inbox/.meta
show "cat inbox/.version"
cat inbox/.version
show "mdir ls inbox"
mdir ls inbox
url=$(sed -n 's/^url: //p' "inbox/.meta/photo (2).jpg")
show "mdir resolve inbox $url"
mdir resolve inbox "$url"
show "cat 'inbox/.meta/photo (2).jpg'"
cat "inbox/.meta/photo (2).jpg"
