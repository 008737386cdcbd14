//! How many files and connections the process may have open (getrlimit(2), `RLIMIT_NOFILE`).

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The limit at present.
///
/// # Errors
/// When the system does not tell.
pub fn limit() -> io::Result<u64> {
    let (limit, _most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(limit)
}

/// Raises the limit as far as the process may by itself, as the runtimes of other languages do: many systems begin with
/// 1024, for the sake of programs that use select(2).
///
/// # Errors
/// When the system refuses; the limit is what it was.
pub fn raise_limit() -> io::Result<()> {
    let (limit, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if limit < most {
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 100, most).unwrap();
        assert_eq!(limit().unwrap(), 100);
        raise_limit().unwrap();
        assert_eq!(limit().unwrap(), most);
        raise_limit().unwrap();
    }
}
