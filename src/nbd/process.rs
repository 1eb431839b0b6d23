//! What a server process really has open, from `/proc/<pid>/fd`.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use crate::host::number_of;
use crate::model::observed::DeviceNumber;

/// The disks (block devices and regular files) behind the descriptors of a process, each with
/// the number of its descriptor.
///
/// # Errors
/// The process is gone, or belongs to another user.
pub(super) fn open_disks(pid: u32) -> io::Result<BTreeSet<(String, DeviceNumber)>> {
    let mut open = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        match fs::metadata(entry.path()) {
            Ok(metadata) => {
                let fd = entry.file_name().to_string_lossy().into_owned();
                open.extend(number_of(&metadata).map(|number| (fd, number)));
            }
            // Closed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_is_found_until_it_is_closed() {
        let file = tempfile::tempfile().expect("a temporary file");
        let number = number_of(&file.metadata().expect("a file")).expect("a regular file");
        let is_open = || {
            let open = open_disks(std::process::id()).expect("our own descriptors");
            open.iter().any(|(_, found)| *found == number)
        };
        assert!(is_open());
        drop(file);
        assert!(!is_open());
        assert!(open_disks(u32::MAX).is_err(), "no such process");
    }
}
