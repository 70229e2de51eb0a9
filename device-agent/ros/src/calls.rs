//! Calls of services that a module made, until it has asked for their responses.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use wasmbed_abi::{Errno, MAX_SERVICE_CALLS};

/// The calls of one module; clones are the same.
#[derive(Clone)]
pub(crate) struct Calls {
    inner: Arc<Mutex<Inner>>,
    /// Told of every end.
    ended: Arc<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Inner {
    next: u32,
    /// The oldest first.
    calls: VecDeque<(u32, Result<Vec<u8>, Errno>)>,
}

impl Calls {
    pub(crate) fn new(ended: Arc<dyn Fn() + Send + Sync>) -> Self {
        Calls { inner: Arc::default(), ended }
    }

    /// A ticket for another call. It is under way until it [ends](Calls::end).
    ///
    /// # Errors
    /// [`Errno::Busy`] if the oldest of as many as are kept is still under way.
    pub(crate) fn begin(&self) -> Result<u32, Errno> {
        let mut inner = self.lock();
        if inner.calls.len() >= MAX_SERVICE_CALLS {
            match inner.calls.front() {
                Some((_, Err(Errno::Busy))) => return Err(Errno::Busy),
                _ => drop(inner.calls.pop_front()),
            }
        }
        let ticket = inner.next;
        inner.next = ticket.wrapping_add(1) & i32::MAX.cast_unsigned();
        inner.calls.push_back((ticket, Err(Errno::Busy)));
        Ok(ticket)
    }

    pub(crate) fn end(&self, ticket: u32, response: Result<Vec<u8>, Errno>) {
        let mut inner = self.lock();
        if let Some((_, kept)) = inner.calls.iter_mut().find(|(known, _)| *known == ticket) {
            *kept = response;
        }
        drop(inner);
        (self.ended)();
    }

    /// It did not even begin.
    pub(crate) fn forget(&self, ticket: u32) {
        self.lock().calls.retain(|(known, _)| *known != ticket);
    }

    /// Copies the response to the start of `out`.
    pub(crate) fn response(&self, ticket: u32, out: &mut [u8]) -> Result<usize, Errno> {
        let inner = self.lock();
        let (_, response) = inner.calls.iter().find(|(known, _)| *known == ticket).ok_or(Errno::NotFound)?;
        let response = response.as_ref().map_err(|errno| *errno)?;
        out.get_mut(..response.len()).ok_or(Errno::NoSpace)?.copy_from_slice(response);
        Ok(response.len())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_call_is_kept_until_as_many_came_after_it() {
        let ends = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ends);
        let calls = Calls::new(Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        let mut out = [0; 2];
        let first = calls.begin().expect("room");
        assert_eq!(calls.response(first, &mut out), Err(Errno::Busy));
        for _ in 1..MAX_SERVICE_CALLS {
            calls.begin().expect("room");
        }
        assert_eq!(calls.begin(), Err(Errno::Busy), "none may be forgotten");
        calls.end(first, Ok(vec![1, 2]));
        assert_eq!(calls.response(first, &mut out[..1]), Err(Errno::NoSpace));
        assert_eq!(calls.response(first, &mut out), Ok(2));
        let last = calls.begin().expect("room");
        assert_eq!(calls.response(first, &mut out), Err(Errno::NotFound));
        calls.end(last, Err(Errno::TimedOut));
        assert_eq!(calls.response(last, &mut out), Err(Errno::TimedOut));
        calls.forget(last);
        assert_eq!(calls.response(last, &mut out), Err(Errno::NotFound));
        assert_eq!(ends.load(Ordering::Relaxed), 2);
    }
}
