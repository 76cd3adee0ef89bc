# shellcheck shell=bash
# The initramfs: a base (busybox, tools, the kernel's modules), cached by content, and on top of it a small archive
# with our programs, our modules and the files of this run. Later archives win, so the base needs no knowledge of ours.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The shells and all that run other programs are the host's: busybox's prefer their own applets to the tools.
base_tools='
	dash bash env nice nohup setsid taskset timeout xargs
	fio qemu-img qemu-io kmod dmsetup mdadm
	mke2fs e2fsck tune2fs dumpe2fs debugfs resize2fs mkfs.xfs xfs_repair xfs_db xfs_io
	losetup blkid lsblk blkdiscard blockdev wipefs mount umount findmnt
'
# Names under which a tool is known besides its own.
base_links='
	dash:bin/sh mke2fs:sbin/mkfs.ext4 mke2fs:sbin/mkfs.ext2 e2fsck:sbin/fsck.ext4
	kmod:sbin/modprobe kmod:sbin/insmod kmod:sbin/rmmod kmod:sbin/lsmod kmod:sbin/modinfo kmod:sbin/depmod
'

# The shared libraries that programs need, one a line; none for what is no dynamic program.
libraries_of() { ldd "$@" 2>/dev/null | grep -o '/[^ ]*[^ :]' | grep -v ':$' | sort -u; }

# Copies files to the same place under a directory (in /usr, where that place is a link into it).
copy_into() {
	local into=$1 file place
	shift
	for file; do
		place=$(readlink -f "$(dirname "$file")")
		mkdir -p "$into$place"
		cp -L "$file" "$into$place/"
	done
}

# The same content gives the same archive, or instruction counts would differ between runs.
pack() {
	find "$1" -exec touch -h -d '2026-01-01 UTC' {} +
	(cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z | cpio --quiet --reproducible -0 -o -H newc -R 0:0)
}

base_modules() {
	local kernel=$1 into=$2 release=$3 names module file
	local place=$into/usr/lib/modules/$release
	mkdir -p "$place"
	cp "$kernel/modules/"modules.{order,builtin,builtin.modinfo} "$place/"
	names=$(grep -v '^#' "$vm_dir/modules")
	# shellcheck disable=SC2086 # a list of words
	module_files "$kernel" "$release" $names | while read -r file; do
		module=$place/${file#*/"$release"/}
		mkdir -p "$(dirname "$module")"
		case $file in
		*.xz) xz -dc "$file" >"${module%.xz}" ;;
		*) cp "$file" "$module" ;;
		esac
	done
	depmod -b "$into/usr" "$release"
}

# The files of modules and of what they depend on.
module_files() {
	local kernel=$1 release=$2 file name
	shift 2
	for name; do
		grep -m 1 -E "/${name//[-_]/[-_]}\.ko(\.[a-z]+)?:" "$kernel/modules/modules.dep" || true
	done | tr -d : | tr ' ' '\n' | sort -u | while read -r file; do
		[ -z "$file" ] || echo "$kernel/modules/$file"
	done
}

base_build() {
	local kernel=$1 into=$2 release=$3 applet name
	local tools=()
	mkdir -p "$into"/usr/{bin,sbin,lib,lib64,local/bin} "$into"/{dev,proc,sys,run,tmp,root,mnt,work,etc/vm}
	for name in bin sbin lib lib64; do ln -s "usr/$name" "$into/$name"; done
	ln -s /proc/self/mounts "$into/etc/mtab"
	echo 'root:x:0:0:root:/root:/bin/sh' >"$into/etc/passwd"
	echo 'root:x:0:' >"$into/etc/group"
	[ ! -e /etc/mke2fs.conf ] || cp /etc/mke2fs.conf "$into/etc/"
	for name in $base_tools; do tools+=("$(tool_path "$name")"); done
	mapfile -t -O ${#tools[@]} tools < <(libraries_of "${tools[@]}")
	copy_into "$into" "${tools[@]}"
	for name in $base_links; do ln -s "$(readlink -f "$(tool_path "${name%:*}")")" "$into/usr/${name#*:}"; done
	cp -L "$(tool_path busybox)" "$into/usr/bin/busybox"
	for applet in $("$into/usr/bin/busybox" --list); do
		[ -L "$into/usr/bin/$applet" ] || [ -e "$into/usr/bin/$applet" ] || [ -L "$into/usr/sbin/$applet" ] || [ -e "$into/usr/sbin/$applet" ] ||
			ln -s busybox "$into/usr/bin/$applet"
	done
	base_modules "$kernel" "$into" "$release"
}

# What the base is made from, as text: when this changes, the base is made anew.
base_recipe() {
	local name
	cat "$vm_dir/lib-image.sh" "$vm_dir/modules"
	readlink -f "$1"
	stat -L -c '%n %s %Y' "$1/release" /etc/ld.so.cache
	for name in busybox $base_tools; do stat -L -c '%n %s %Y' "$(tool_path "$name")"; done
}

# Prints the directory of the base for a kernel: base.cpio, and modules/ with what the archive holds of them.
base_image() {
	local kernel=$1 release=$2 key place work
	key=$(base_recipe "$kernel" | sha256sum | cut -c 1-16)
	place=$cache/base/$release-$key
	if [ ! -e "$place/base.cpio" ]; then
		mkdir -p "$cache/base"
		exec 8>"$cache/base/lock"
		flock 8
		if [ ! -e "$place/base.cpio" ]; then
			work=$(mktemp -d "$cache/base/.new.XXXXXX")
			find "$cache/base" -mindepth 1 -maxdepth 1 -type d -mtime +7 -exec rm -rf {} +
			base_build "$kernel" "$work/tree" "$release"
			pack "$work/tree" >"$work/base.cpio"
			mv "$work/tree/usr/lib/modules" "$work/modules"
			rm -rf "$work/tree"
			chmod 755 "$work"
			rm -rf "$place"
			mv "$work" "$place"
		fi
		exec 8>&-
	fi
	touch "$place"
	echo "$place"
}

# With this machine's tools, or with those that fetch-tools has brought from the kernel's own suite, which live in a root of their own.
module_make() {
	local kernel=$1 release=$2 out=$3 place as_root=(-m) arch=()
	if [ -e "$kernel/headers" ]; then
		[ ! -e "$kernel/linux" ] || arch=(ARCH=um)
		env -u MAKEFLAGS -u MAKELEVEL make -C "$root/kmod" "${arch[@]}" KDIR="$kernel/headers" OUT="$out"
		return
	fi
	[ "$(id -u)" = 0 ] || as_root=(-m -r)
	place=$(mktemp -d "$kernel/tools/tmp/kmod.XXXXXX")
	cp "$root"/kmod/* "$place/"
	# shellcheck disable=SC2016 # for the other shell
	if env -i PATH=/usr/sbin:/usr/bin unshare "${as_root[@]}" sh -c 'mount --bind /dev/null "$1/dev/null" && mount --rbind /proc "$1/proc" &&
		exec chroot "$1" make -C "$2" KDIR="/lib/modules/$3/build" OUT="$2/out"' sh "$kernel/tools" "/tmp/${place##*/}" "$release"; then
		cp "$place/out/ubd.ko" "$out/"
		rm -rf "$place"
	else
		rm -rf "$place"
		return 1
	fi
}

# Our module for a kernel, built where its sources have changed; prints the directory that holds it.
module_build() {
	local kernel=$1 release=$2 out=$build/kmod-$2 sources
	[ -e "$root/kmod/Makefile" ] || return 0
	[ -e "$kernel/headers" ] || [ -e "$kernel/tools" ] || return 0
	mkdir -p "$build"
	exec 8>"$out.lock"
	flock 8
	sources=$(cd "$root/kmod" && find . -type f \( -name '*.[ch]' -o -name Makefile -o -name Kbuild \) -print0 | LC_ALL=C sort -z |
		xargs -0 sha256sum | cat - <(readlink -f "$kernel") | sha256sum)
	if [ ! -e "$out/ubd.ko" ] || [ "$(cat "$out/.sources" 2>/dev/null)" != "$sources" ]; then
		rm -rf "$out"
		mkdir -p "$out"
		module_make "$kernel" "$release" "$out" >"$out.log" 2>&1 || {
			cat "$out.log" >&2
			die "kmod does not build for $release"
		}
		echo "$sources" >"$out/.sources"
	fi
	exec 8>&-
	echo "$out"
}

# Our programs: what the build left to be run in the guest.
our_programs() {
	local file
	for file in "$build"/* "$build"/vm/* "$build"/bench/*; do
		[ ! -f "$file" ] || [ ! -x "$file" ] || case $file in *.so | *.ko | *.o) ;; *) echo "$file" ;; esac
	done
}

# Builds the archive of this run in a directory: programs, modules, and the named files in /work.
overlay_build() {
	local into=$1 base=$2 modules=$3 release=$4 file name place
	local programs=()
	shift 4
	mkdir -p "$into"/usr/local/bin "$into"/work "$into/etc/vm"
	mapfile -t programs < <(our_programs)
	[ ${#programs[@]} = 0 ] || cp "${programs[@]}" "$into/usr/local/bin/"
	for file; do
		name=$(basename "$file")
		[ ! -e "$into/work/$name" ] || die "-f $file: another file named $name is given already"
		cp -RL "$file" "$into/work/"
		[ ! -x "$file" ] || [ -d "$file" ] || programs+=("$file")
	done
	if [ ${#programs[@]} != 0 ]; then
		mapfile -t programs < <(libraries_of "${programs[@]}")
		[ ${#programs[@]} = 0 ] || copy_into "$into" "${programs[@]}"
	fi
	cp "$vm_dir/init" "$into/init"
	place=$into/usr/lib/modules
	if [ -n "$modules" ] && compgen -G "$modules/*.ko" >/dev/null; then
		# depmod wants to see all modules; only its tables and our modules go into the archive.
		mkdir -p "$into.modules/lib"
		cp -as "$base/modules" "$into.modules/lib/"
		mkdir -p "$into.modules/lib/modules/$release/updates" "$place/$release/updates"
		cp "$modules"/*.ko "$place/$release/updates/"
		cp "$modules"/*.ko "$into.modules/lib/modules/$release/updates/"
		depmod -b "$into.modules" "$release" 2>"$into.depmod" || die "depmod: $(cat "$into.depmod")"
		find "$into.modules/lib/modules/$release" -maxdepth 1 -type f -exec cp {} "$place/$release/" \;
	fi
}
