//! The hash of a configuration's content, by which the reload recognises a fault that it has reported already.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// A hash of everything that one reading found in the file and the files that it names, valid or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContentHash(u64);

/// Computes a [`ContentHash`] while a configuration is read.
#[derive(Default)]
pub struct ContentHasher(RefCell<DefaultHasher>);

impl ContentHasher {
    /// Adds the text of a file, or that the file can't be read.
    pub fn add<T: AsRef<str>>(&self, read: &std::io::Result<T>) {
        let mut hasher = self.0.borrow_mut();
        match read {
            Ok(text) => (true, text.as_ref()).hash(&mut *hasher),
            Err(error) => (false, error.to_string()).hash(&mut *hasher),
        }
    }

    /// The hash of everything that was added.
    pub fn finish(self) -> ContentHash {
        ContentHash(self.0.into_inner().finish())
    }
}
