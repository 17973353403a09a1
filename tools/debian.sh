# shellcheck shell=bash
# Sourced by the scripts that need packages of another Debian release than the machine's own. No mirror is named here:
# the machine's own apt sources say where packages come from, and apt's signatures say whether they are Debian's.

# The machine's own Debian source with another release in place of its own; nothing when it has none.
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

# Writes FOLDER/nidan.sources or FOLDER/nidan.list. Fails, with the reason on stdout, where there is no Debian or none of
# its sources names the machine's own release.
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

# `apt-get -c FOLDER/apt.conf` then reads that source alone and writes nowhere else: the machine's own lists stay as
# they are. Read after the machine's own settings, so that its proxies stay and its hooks, which touch the host, do not run.
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
