//! Buffers and pipes that the connections of one worker share.
//!
//! A connection holds one only while bytes are on their way through it, so thousands of idle connections cost neither.
//! Each worker is one thread with pools of its own: nothing is locked.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use crate::limits::MAX_PIPES;

/// Bytes of a buffer: four pages, enough for one turn of an ordinary request or answer.
pub(crate) const BUFFER: usize = 16 * 1024;
/// Bytes wished for in a pipe: what a fast link delivers between two turns. The kernel may grant less.
pub(crate) const PIPE: usize = 256 * 1024;
/// Buffers kept for the next connection; 4 MiB a worker.
const IDLE_BUFFERS: usize = 256;

thread_local! {
    static POOLS: RefCell<Pools> = const {
        RefCell::new(Pools { buffers: Vec::new(), pipes: Vec::new(), n_pipes: 0, max_pipes: MAX_PIPES })
    };
}

struct Pools {
    buffers: Vec<Box<[u8]>>,
    pipes: Vec<Pipe>,
    /// Those in use included.
    n_pipes: usize,
    max_pipes: usize,
}

/// A pipe through which `splice` moves bytes from socket to socket without copying them.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) reader: OwnedFd,
    pub(crate) writer: OwnedFd,
}

/// Bounds the pipes of the calling worker.
pub(crate) fn limit_pipes(max_pipes: usize) {
    POOLS.with_borrow_mut(|pools| pools.max_pipes = max_pipes);
}

/// Returns a buffer of [`BUFFER`] bytes of any content.
pub(crate) fn take_buffer() -> Box<[u8]> {
    let kept = POOLS.with_borrow_mut(|pools| pools.buffers.pop());
    kept.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice())
}

/// Keeps `buffer` for the next who asks.
pub(crate) fn give_buffer(buffer: Box<[u8]>) {
    POOLS.with_borrow_mut(|pools| {
        if pools.buffers.len() < IDLE_BUFFERS {
            pools.buffers.push(buffer);
        }
    });
}

/// Returns an empty pipe, or none when the worker has as many in use as it may.
pub(crate) fn take_pipe() -> Option<Pipe> {
    POOLS.with_borrow_mut(|pools| {
        if let Some(pipe) = pools.pipes.pop() {
            return Some(pipe);
        }
        if pools.n_pipes >= pools.max_pipes {
            return None;
        }
        let pipe = Pipe::open().ok()?;
        pools.n_pipes += 1;
        Some(pipe)
    })
}

/// Keeps an empty `pipe` for the next who asks.
pub(crate) fn give_pipe(pipe: Pipe) {
    POOLS.with_borrow_mut(|pools| pools.pipes.push(pipe));
}

/// A pipe that is dropped and not given back may hold bytes of a broken connection.
impl Drop for Pipe {
    fn drop(&mut self) {
        // The thread may be ending, its pools gone.
        let _ = POOLS.try_with(|pools| {
            if let Ok(mut pools) = pools.try_borrow_mut() {
                pools.n_pipes -= 1;
            }
        });
    }
}

impl Pipe {
    fn open() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused to users who have many pipes already; the pipe then holds less at a time, and works.
        let _ = fcntl_setpipe_size(&writer, PIPE);
        Ok(Self { reader, writer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_bounded_and_used_again() {
        limit_pipes(2);
        let (first, second) = (take_pipe().unwrap(), take_pipe().unwrap());
        assert!(take_pipe().is_none(), "a third pipe");
        give_pipe(first);
        let again = take_pipe().unwrap();
        assert!(take_pipe().is_none(), "a third pipe");
        drop(second);
        let fresh = take_pipe();
        assert!(fresh.is_some(), "the place of a dropped pipe stays taken");
        give_pipe(again);
    }

    #[test]
    fn buffers_are_used_again() {
        let mut buffer = take_buffer();
        buffer[0] = 77;
        give_buffer(buffer);
        assert_eq!(take_buffer()[0], 77);
    }
}
