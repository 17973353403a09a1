# shellcheck shell=bash
# For scripts that need packages of a different Debian release than the machine's own. It names no mirror: the packages
# come from the machine's own apt sources, and apt's signatures prove that they are Debian's.

# Prints the machine's own Debian source with the other release; nothing when it has none.
_deb822_source() { # CODENAME RELEASE FILE...
  awk -v RS= -v own="$1" -v other="$2" '
    $0 ~ "(^|\n)Suites:([^\n]* )?" own "( [^\n]*)?(\n|$)" {
      gsub(/(^|\n)#[^\n]*/, ""); sub(/Suites:[^\n]*/, "Suites: " other); print; exit
    }' "${@:3}"
}

_one_line_source() { # CODENAME RELEASE FILE...
  awk -v own="$1" -v other="$2" '
    $1 == "deb" { for (i = 2; i <= NF; i++) if ($i == own) { $i = other; print; exit } }' "${@:3}"
}

# Writes FOLDER/nidan.sources or FOLDER/nidan.list. Fails, with the reason on stdout, when the machine is no Debian or no
# source names its release.
debian_source() { # FOLDER RELEASE
  local codename files
  codename="$(. /etc/os-release 2>/dev/null && [[ "${ID:-}" == debian ]] && echo "${VERSION_CODENAME:-}")" || true
  [[ -n "$codename" ]] || { echo "this is no Debian machine"; return 1; }
  shopt -s nullglob
  files=(/etc/apt/sources.list.d/*.sources)
  if ((${#files[@]})); then _deb822_source "$codename" "$2" "${files[@]}" >"$1/nidan.sources"; fi
  files=(/etc/apt/sources.list /etc/apt/sources.list.d/*.list)
  shopt -u nullglob
  if [[ ! -s "$1/nidan.sources" ]]; then
    rm -f "$1/nidan.sources"
    _one_line_source "$codename" "$2" "${files[@]}" >"$1/nidan.list" 2>/dev/null || true
  fi
  [[ -s "$1/nidan.sources" || -s "$1/nidan.list" ]] || { echo "this machine's apt sources name no mirror of its own release ($codename)"; return 1; }
}

# Makes `apt-get -c FOLDER/apt.conf` read only that source and write only into FOLDER. apt reads this file after the
# machine's settings: proxies stay in effect, and hooks, which would change the host, are cleared.
private_apt() { # FOLDER (with parts/nidan.sources or parts/nidan.list in it)
  mkdir -p "$1"/{parts,lists/partial,cache/archives/partial}
  cat >"$1/apt.conf" <<CONF
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$1/parts";
Dir::State::Lists "$1/lists";
Dir::Cache "$1/cache";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "2";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
CONF
}
