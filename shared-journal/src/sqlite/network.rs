//! Whether a file is on another machine.
//!
//! SQLite's WAL needs memory that all processes share, and locks that all of them see. Over a network
//! there is neither: two machines can both believe that they have the journal.

use std::path::Path;

/// Servers hand these to several machines.
const REFUSED: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "beegfs",
    "gpfs",
    "ocfs2",
    "gfs2",
    "orangefs",
    "coda",
    "ncpfs",
];
/// So do these, through FUSE.
const REFUSED_FUSE: &[&str] = &[
    "sshfs",
    "s3fs",
    "gcsfuse",
    "rclone",
    "davfs",
    "davfs2",
    "glusterfs",
    "ceph",
    "ceph-fuse",
    "juicefs",
    "mfs",
    "goofys",
    "blobfuse",
    "blobfuse2",
    "mount-s3",
    "curlftpfs",
    "smbnetfs",
];
/// Folders that a virtual machine or sandbox shares with its host, which may be shared with others.
const DOUBTFUL: &[&str] = &["9p", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "fuse"];

/// What a file is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) point: String,
    pub(super) kind: String,
}

impl Mount {
    /// Whether several machines can have the file at once.
    pub(super) fn is_refused(&self) -> bool {
        match self.kind.split_once('.') {
            Some(("fuse" | "fuseblk", kind)) => REFUSED_FUSE.contains(&kind),
            _ => REFUSED.contains(&&*self.kind),
        }
    }

    /// Whether that cannot be ruled out.
    pub(super) fn is_doubtful(&self) -> bool {
        self.is_refused() || DOUBTFUL.contains(&self.kind.split('.').next().unwrap_or_default())
    }
}

/// The mount of an absolute path without links, where the system says. Linux only.
pub(super) fn mount_of(path: &Path) -> Option<Mount> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    find(&mounts, path)
}

/// The last mount whose point is the longest that `path` begins with, as the kernel would go.
fn find(mounts: &str, path: &Path) -> Option<Mount> {
    let mounts = mounts.lines().filter_map(|line| {
        // ID PARENT DEVICE ROOT POINT OPTIONS [TAG...] - KIND SOURCE OPTIONS
        let (before, after) = line.split_once(" - ")?;
        let point = unescape(before.split(' ').nth(4)?);
        let kind = after.split(' ').next()?.to_owned();
        path.starts_with(&point).then_some(Mount { point, kind })
    });
    mounts.max_by_key(|mount| Path::new(&mount.point).components().count())
}

/// Spaces, tabs, line ends and backslashes of a name are octal there.
fn unescape(name: &str) -> String {
    let replaced = name.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n");
    replaced.replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw - proc proc rw
36 22 0:40 / /srv/share rw,relatime shared:9 master:2 - nfs4 server:/export rw,vers=4.2
37 36 8:2 / /srv/share/local rw - xfs /dev/sdb1 rw
38 22 0:41 / /mnt/win\\040dows rw - cifs //server/x rw
39 22 0:42 / /home/me/remote rw - fuse.sshfs me@host: rw
40 22 0:43 / /mnt/c rw - 9p drvfs rw
41 22 0:44 / /data rw - nfs server:/old rw
42 22 8:3 / /data rw - ext4 /dev/sdc1 rw
43 22 0:45 / /media/stick rw - fuseblk /dev/sdd1 rw
44 22 0:46 / / rw - overlay overlay rw
45 22 0:47 / /gone rw
";

    fn kind(path: &str) -> (String, bool, bool) {
        let mount = find(MOUNTS, Path::new(path)).unwrap();
        (mount.kind.clone(), mount.is_refused(), mount.is_doubtful())
    }

    #[test]
    fn a_file_is_on_the_innermost_and_newest_of_its_mounts() {
        assert_eq!(kind("/srv/app.db"), ("overlay".into(), false, false), "/ was mounted twice");
        assert_eq!(kind("/srv/share/app.db"), ("nfs4".into(), true, true));
        assert_eq!(kind("/srv/shared/app.db"), ("overlay".into(), false, false), "another folder");
        assert_eq!(kind("/srv/share/local/app.db"), ("xfs".into(), false, false));
        assert_eq!(kind("/mnt/win dows/app.db"), ("cifs".into(), true, true));
        assert_eq!(kind("/home/me/remote/x/app.db"), ("fuse.sshfs".into(), true, true));
        assert_eq!(kind("/mnt/c/app.db"), ("9p".into(), false, true));
        assert_eq!(kind("/data/app.db"), ("ext4".into(), false, false), "mounted over");
        assert_eq!(kind("/media/stick/app.db"), ("fuseblk".into(), false, false));
        assert_eq!(kind("/gone/app.db").0, "overlay", "a line that is no mount");
        assert_eq!(find("", Path::new("/app.db")), None);
        assert_eq!(find("no sense\n\u{0} - \n - x", Path::new("/app.db")), None);
    }
}
