//! How we prove to the node who we are.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bitcoincore_rpc::jsonrpc::base64;
use zeroize::Zeroizing;

use super::Error;
use crate::limits;
use crate::secret::Secret;

/// A file with `name:password` in one line: the cookie that the node writes at each start, or one like it for a user
/// of the node's `rpcauth`.
///
/// Only the path is kept; the file is read anew for each connection, because a restarted node has a new cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAuth {
    cookie: PathBuf,
}

impl NodeAuth {
    /// Credentials from this file.
    pub fn cookie_file(path: PathBuf) -> Self {
        Self { cookie: path }
    }

    /// The name that the node knows us by, without the password.
    pub fn user(&self) -> Result<String, Error> {
        let line = self.line()?;
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    /// The value of the HTTP header `Authorization`.
    pub(super) fn header(&self) -> Result<Secret, Error> {
        let encoded = Zeroizing::new(base64::encode(&*self.line()?));
        Ok(Secret::new([b"Basic ", encoded.as_bytes()].concat()))
    }

    /// `name:password`.
    fn line(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let cookie = self.read().map_err(|source| Error::Cookie {
            path: self.cookie.clone(),
            source,
        })?;
        let line = cookie.trim_ascii_end();
        if !line.contains(&b':') || line.contains(&b'\n') {
            return Err(Error::CookieForm {
                path: self.cookie.clone(),
            });
        }
        Ok(Zeroizing::new(line.to_vec()))
    }

    /// Where the credentials are.
    pub(super) fn path(&self) -> &Path {
        &self.cookie
    }

    fn read(&self) -> std::io::Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(Vec::new());
        File::open(&self.cookie)?
            .take(limits::NODE_COOKIE_BYTES_MAX)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_becomes_a_header_and_is_read_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".cookie");
        let auth = NodeAuth::cookie_file(path.clone());
        std::fs::write(&path, "__cookie__:c0ffee\n").unwrap();
        let header = auth.header().unwrap();
        assert_eq!(header.expose(), b"Basic X19jb29raWVfXzpjMGZmZWU=");
        assert_eq!(auth.user().unwrap(), "__cookie__");
        std::fs::write(&path, "user:other").unwrap();
        assert_eq!(auth.header().unwrap().expose(), b"Basic dXNlcjpvdGhlcg==");
    }

    #[test]
    fn a_missing_or_misshapen_cookie_is_told_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".cookie");
        let auth = NodeAuth::cookie_file(path.clone());
        assert!(matches!(auth.header(), Err(Error::Cookie { .. })));
        for content in ["hunter2", "a:hunter2\nb:hunter2"] {
            std::fs::write(&path, content).unwrap();
            let error = auth.header().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"));
            assert!(matches!(error, Error::CookieForm { .. }));
        }
    }
}
