//! Files that a run reads must not be those that it writes.

use std::path::Path;

/// Whether both names lead to one file that is there.
pub(super) fn is_same_file(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| path.canonicalize().ok();
    place(a).is_some() && place(a) == place(b)
}
