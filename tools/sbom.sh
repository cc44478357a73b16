#!/bin/sh
# Writes what is in the image besides its base, as CycloneDX JSON: `tools/sbom.sh FILE`. From an environment that is made
# of the lock and the project's wheel alone, as the Dockerfile does it: with licences and who needs whom.
set -eu
to=${1:?a file}
root=$(cd "$(dirname "$0")/.." && pwd)
bin=$root/.venv/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export UV_NO_CONFIG=1 UV_LINK_MODE=copy

"$bin/uv" venv --quiet --python "$bin/python" "$work/environment"
"$bin/uv" pip install --quiet --python "$work/environment" --only-binary :all: --require-hashes -r "$root/requirements.lock"
(cd "$root" && "$bin/python" -m hatchling build --target wheel --directory "$work" >/dev/null 2>&1)
"$bin/uv" pip install --quiet --python "$work/environment" --no-deps "$work"/turnout-*.whl
mkdir -p "$(dirname "$to")"
# The project stands at the root; it is not one of its own parts as well.
"$bin/cyclonedx-py" environment --output-reproducible --mc-type application --pyproject "$root/pyproject.toml" \
  --output-file "$work/sbom.json" "$work/environment/bin/python"
mv "$work/sbom.json" "$to"
echo "$to: $("$bin/python" -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["components"]))' "$to") components"
