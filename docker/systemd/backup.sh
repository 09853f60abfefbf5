#!/bin/sh
# Dumps a database of this machine: backup.sh DATABASE FOLDER DAYS
#
# A dump gets its name once it is complete, so that one that was interrupted is never taken for a
# backup. Then dumps that are older than DAYS are deleted; without a new dump none is.
set -eu
umask 077
database=$1 folder=$2 days=$3

name=pandaprobe-$(date -u +%Y%m%dT%H%M%SZ).dump
draft=$folder/.$name.incomplete
# Also those of a run that was killed.
trap 'rm -f "$folder"/.pandaprobe-*.incomplete' EXIT
trap 'exit 143' HUP INT TERM

pg_dump --format=custom --file="$draft" "$database"
pg_restore --list "$draft" >/dev/null # fails unless its table of contents can be read
sync "$draft"
mv "$draft" "$folder/$name"
sync "$folder"
echo "$folder/$name: $(wc -c <"$folder/$name") bytes"
find "$folder" -maxdepth 1 -name 'pandaprobe-*.dump' -mtime "+$days" -exec rm -f {} +
