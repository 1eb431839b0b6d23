//! What the demo's client does: writes and reads through NBD with nbdcopy, and looks at what is
//! offered.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use super::stage::Stage;
use crate::nbd::handshake;

/// How much is written and read, in bytes.
pub const LEN: usize = 64 << 20;
const CHUNK: usize = 1 << 20;
/// How long copying may take.
const COPY_MAX: Duration = Duration::from_secs(60);
/// How long the NBD server may take to say what it offers.
const SURVEY_MAX: Duration = Duration::from_secs(2);

/// Random data in a file, and an export that should hold them.
pub struct Data {
    file: PathBuf,
    back: PathBuf,
    uri: String,
}

impl Data {
    /// Makes the data.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub async fn make(stage: &Stage, export: &str) -> anyhow::Result<Self> {
        let dir = stage.place.dir();
        let data = Self {
            file: dir.join("data.img"),
            back: dir.join("data-read-back.img"),
            uri: stage.place.uri(export),
        };
        let file = data.file.clone();
        tokio::task::spawn_blocking(move || fill(&file)).await??;
        Ok(data)
    }

    /// The command that writes them, for people.
    pub fn command(&self) -> String {
        let name = |path: &Path| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        format!("nbdcopy --flush {} '{}'", name(&self.file), self.uri)
    }

    /// Writes them to the export, down to the disk.
    ///
    /// # Errors
    /// If nbdcopy fails.
    pub async fn write(&self) -> anyhow::Result<()> {
        nbdcopy(&["--flush"], &self.file, Path::new(&self.uri)).await
    }

    /// Whether the export begins with them: the whole export is read.
    ///
    /// # Errors
    /// If nbdcopy fails.
    pub async fn is_there(&self) -> anyhow::Result<bool> {
        nbdcopy(&[], Path::new(&self.uri), &self.back).await?;
        let (file, back) = (self.file.clone(), self.back.clone());
        Ok(tokio::task::spawn_blocking(move || starts_with(&back, &file)).await??)
    }
}

async fn nbdcopy(options: &[&str], from: &Path, to: &Path) -> anyhow::Result<()> {
    let running = Command::new("nbdcopy")
        .args(options)
        .arg("--")
        .args([from, to])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(COPY_MAX, running)
        .await
        .context("nbdcopy does not end")?
        .context("cannot run nbdcopy")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("nbdcopy ended with {}: {}", output.status, said.trim());
    }
    Ok(())
}

/// The names that the NBD server offers now, or `None` if there is no server.
pub async fn offered(stage: &Stage) -> Option<Vec<String>> {
    let offer = handshake::survey(&stage.nbd_address(), SURVEY_MAX)
        .await
        .ok()?;
    let mut names: Vec<String> = offer
        .exports
        .into_iter()
        .map(|(name, _)| name.to_string())
        .collect();
    names.sort();
    Some(names)
}

fn fill(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut random = fastrand::Rng::new();
    let mut chunk = vec![0; CHUNK];
    for _ in 0..LEN / CHUNK {
        random.fill(&mut chunk);
        file.write_all(&chunk)?;
    }
    Ok(())
}

fn starts_with(path: &Path, beginning: &Path) -> io::Result<bool> {
    let mut all = File::open(path)?;
    let mut wanted = File::open(beginning)?;
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let len = wanted.read(&mut right)?;
        if len == 0 {
            return Ok(true);
        }
        match all.read_exact(&mut left[..len]) {
            Ok(()) if left[..len] == right[..len] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_byte_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let [wanted, all] = ["wanted", "all"].map(|name| dir.path().join(name));
        fill(&wanted).expect("written");
        let bytes = std::fs::read(&wanted).expect("readable");
        assert_eq!(bytes.len(), LEN);
        let mut longer = bytes.clone();
        longer.extend([0; 100]);
        std::fs::write(&all, &longer).expect("written");
        assert!(starts_with(&all, &wanted).expect("readable"));
        longer[LEN - 1] ^= 1;
        std::fs::write(&all, &longer).expect("written");
        assert!(!starts_with(&all, &wanted).expect("readable"));
        std::fs::write(&all, &bytes[1..]).expect("written");
        assert!(!starts_with(&all, &wanted).expect("readable"));
    }
}
