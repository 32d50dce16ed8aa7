#!/usr/bin/env bash
# The system programs that the longer tests need, on Debian and its kin: what is there already is left alone.
#
#   scripts/tools.sh browser   a browser for the report's tests, a terminal for the session's
#   scripts/tools.sh engines   Prometheus and ClickHouse, beside which the sources are tested
#   scripts/tools.sh lab       packet filter, connection tracking, network namespaces, what fetches and unpacks Envoy
set -euo pipefail

missing=()
want() { # TOOL PACKAGE
  command -v "$1" >/dev/null || missing+=("$2")
}
PATH="$PATH:/usr/sbin:/sbin"

case "${1:-}" in
  browser)
    want chromium chromium
    want tmux tmux
    ;;
  engines)
    want prometheus prometheus
    want promtool prometheus
    want clickhouse-server clickhouse-server
    ;;
  lab)
    want ip iproute2
    want iptables-nft iptables
    want iptables-restore iptables
    want conntrack conntrack
    want nsenter util-linux
    want unshare util-linux
    want setpriv util-linux
    want ps procps
    want curl curl
    want openssl openssl
    want python3 python3
    python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
    ;;
  *) echo 'usage: scripts/tools.sh browser|engines|lab' >&2; exit 2 ;;
esac
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "CANNOT RUN: install ${missing[*]} (as root, on Debian: scripts/tools.sh $1)" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -y -q --no-install-recommends "${missing[@]}"
