# shellcheck shell=bash
# What the scripts of this folder share: names of the targets, and tools installed by package name where they are missing.

# What fails inside $(…) fails.
shopt -s inherit_errexit

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Cross builds have their own folder, so that they and `cargo build` do not throw out each other's work.
cross_dir=${KURIR_CROSS_DIR:-$project/target/cross}
tools=${KURIR_TOOLS_DIR:-$project/target/tools}

# Scripts change to the project's folder.
[ -z "${KURIR_SIM-}" ] || KURIR_SIM=$(realpath "$KURIR_SIM")

say() { echo "-- $*" >&2; }
die() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# arm64 | armhf | amd64 → Rust's name of the static target; a target is left as it is.
target_of() {
  case $1 in
    arm64 | aarch64-unknown-linux-musl) echo aarch64-unknown-linux-musl ;;
    armhf | armv7-unknown-linux-musleabihf) echo armv7-unknown-linux-musleabihf ;;
    amd64 | x86_64-unknown-linux-musl) echo x86_64-unknown-linux-musl ;;
    *) die "$1 is no target: arm64, armhf or amd64" ;;
  esac
}

arch_of() {
  case $(target_of "$1") in
    aarch64-*) echo arm64 ;;
    armv7-*) echo armhf ;;
    x86_64-*) echo amd64 ;;
  esac
}

# What runs the target's programs here; empty where they run by themselves.
emulator_of() {
  case $(target_of "$1")-$(uname -m) in
    aarch64-*-aarch64 | x86_64-*-x86_64) echo "" ;;
    aarch64-*) echo qemu-aarch64-static ;;
    armv7-*) echo qemu-arm-static ;;
    x86_64-*) echo qemu-x86_64-static ;;
  esac
}

# strip for the target's files: strip_for TARGET ARGUMENTS...
strip_for() {
  local prefix
  case $(target_of "$1")-$(uname -m) in
    aarch64-*-aarch64 | x86_64-*-x86_64) prefix="" ;;
    aarch64-*) prefix=aarch64-linux-gnu- ;;
    armv7-*) prefix=arm-linux-gnueabihf- ;;
    x86_64-*) prefix=x86_64-linux-gnu- ;;
  esac
  shift
  local package=${prefix%-}
  package=${package//_/-}
  apt_need "${prefix}strip" "binutils${package:+-$package}"
  "${prefix}strip" "$@"
}

# The test server's program: KURIR_SIM where that is set.
test_server() {
  if [ -z "${KURIR_SIM-}" ]; then
    cargo build --quiet --manifest-path "$project/Cargo.toml" --package whatsapp-sim --bin whatsapp-sim >&2
  fi
  echo "${KURIR_SIM:-${CARGO_TARGET_DIR:-$project/target}/debug/whatsapp-sim}"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# apt_need COMMAND PACKAGE...: installs the packages unless the command is there.
apt_need() {
  local command=$1
  shift
  have "$command" && return
  have apt-get || die "$command is missing, and this is no Debian; install $* (Debian's names)"
  one_at_a_time apt_install "$command" "$@"
}
apt_install() {
  local command=$1
  shift
  have "$command" && return
  say "installing $*"
  # Others than these scripts are waited for, too.
  local install=(apt-get -o DPkg::Lock::Timeout=600 install -qqy --no-install-recommends "$@")
  as_root "${install[@]}" >/dev/null 2>&1 || {
    as_root apt-get update -qq >&2 || true
    as_root "${install[@]}" >/dev/null
  }
}

# one_at_a_time COMMAND...: scripts that run at the same time take turns in what they do to this machine.
one_at_a_time() {
  mkdir -p "$tools"
  (
    flock 8
    "$@"
  ) 8>"$tools/machine.lock"
}

# A Python program from PyPI in a folder of its own: pip_need COMMAND REQUIREMENT...
pip_need() {
  local command=$1
  shift
  [ -x "$tools/venv/bin/$command" ] && return
  have python3 || apt_need python3 python3
  mkdir -p "$tools"
  # Scripts that run at the same time wait for each other.
  (
    flock 9
    if ! [ -x "$tools/venv/bin/pip" ]; then
      python3 -m venv "$tools/venv" 2>/dev/null || {
        apt_need python3-venv-is-missing python3-venv
        python3 -m venv "$tools/venv"
      }
    fi
    [ -x "$tools/venv/bin/$command" ] || {
      say "installing $*"
      "$tools/venv/bin/pip" install --quiet "$@" >&2
    }
  ) 9>"$tools/lock"
}

# fresh_root ARCH TAR FOLDER: a Debian 13 root with systemd; the tar is KURIR_ROOT_TAR where that is set, and made once.
fresh_root() {
  local tar=${KURIR_ROOT_TAR:-$2} from=$SECONDS
  if ! [ -s "$tar" ]; then
    mmdebstrap --quiet --architectures="$1" --variant=apt --include=systemd,udev,passwd \
      --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/kurir/*' \
      trixie "$tar.new.tar" http://deb.debian.org/debian
    mv "$tar.new.tar" "$tar"
    say "the root took $((SECONDS - from)) s"
  fi
  mkdir -p "$3"
  tar -xpf "$tar" -C "$3"
}

# foreign_programs ARCH: makes another architecture's programs run here, by qemu-user through binfmt_misc.
foreign_programs() {
  local emulator
  emulator=$(emulator_of "$1")
  [ -n "$emulator" ] || return 0
  apt_need "$emulator" qemu-user-static
  apt_need update-binfmts binfmt-support
  # mmdebstrap asks it whether the programs run.
  apt_need arch-test arch-test
  one_at_a_time register_emulator "${emulator%-static}"
}
register_emulator() {
  [ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
  [ -e "/proc/sys/fs/binfmt_misc/$1" ] || update-binfmts --enable "$1"
}

# image_root_tar ARCH: the Debian packages of the card as a tar, made once; its path. KURIR_ROOT_TAR is one that is there.
image_root_tar() {
  local arch=$1 kernel tar from=$SECONDS
  tar=${KURIR_ROOT_TAR:-$project/target/image/root-$arch.tar}
  case $arch in
    arm64) kernel=linux-image-arm64 ;;
    armhf) kernel=linux-image-armmp ;;
    *) die "there is no image for $arch: arm64 or armhf" ;;
  esac
  if ! [ -s "$tar" ]; then
    foreign_programs "$arch"
    apt_need mmdebstrap mmdebstrap
    mkdir -p "$(dirname "$tar")"
    # The initramfs is made by image/initramfs/build, and the boot partition by image/build.
    INITRD=No mmdebstrap --quiet --architectures="$arch" --variant=minbase --components="main non-free-firmware" \
      --include="$(image_packages),$kernel" \
      --extract-hook="'$project/image/shortcuts' on \"\$1\"" --customize-hook="'$project/image/shortcuts' off \"\$1\"" \
      --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
      --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-include=/usr/share/doc/kurir/*' \
      --dpkgopt=force-unsafe-io --aptopt='Apt::Install-Recommends "false"' \
      trixie "$tar.new.tar" http://deb.debian.org/debian >&2
    mv "$tar.new.tar" "$tar"
    say "the root's Debian packages for $arch took $((SECONDS - from)) s"
  fi
  echo "$tar"
}
image_packages() {
  grep -v '^#' "$project/image/packages" | paste -sd,
}

# Debian's archive keys, for an apt that is not this machine's own.
keyring() {
  local file
  for file in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
    [ ! -e "$file" ] || { echo "$file"; return; }
  done
  as_root apt-get install -qqy debian-archive-keyring >/dev/null
  echo /usr/share/keyrings/debian-archive-keyring.gpg
}
