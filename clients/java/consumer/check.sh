#!/bin/sh
# Installs what would be published into an empty repository, and builds and runs a project of somebody else's with it.
# check.sh [ADDRESS]: with a sidecar's address it is asked a question, else the client must say that nobody is there.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

mvn -q -B -Prelease -DskipTests "-Dmaven.repo.local=$folder/repository" -f "$here/../pom.xml" install
for artifact in turnout-protos turnout-client; do
  for kind in "" -sources -javadoc; do
    test -s "$folder/repository/dev/turnout/$artifact/0.1.0/$artifact-0.1.0$kind.jar"
  done
done
test ! -e "$folder/repository/dev/turnout/turnout-conformance"

cp -r "$here/pom.xml" "$here/src" "$folder"
mvn -q -B "-Dmaven.repo.local=$folder/repository" -f "$folder/pom.xml" package
ls "$folder/target/lib" | grep -q opentelemetry && { echo "OpenTelemetry is forced on everybody" >&2; exit 1; }
java -cp "$folder/target/consumer.jar:$folder/target/lib/*" example.Consumer "$@"
