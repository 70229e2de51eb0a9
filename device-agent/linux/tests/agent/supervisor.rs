//! A service manager: whatever ends is started again.

use std::{
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use nix::{sys::signal::Signal, unistd::Pid};

/// Started again whenever it ends, until dropped.
pub(crate) struct Supervised {
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    child: Child,
    ends: Vec<ExitStatus>,
    is_over: bool,
}

impl Supervised {
    pub(crate) fn start(mut command: Command) -> Self {
        let child = command.spawn().unwrap();
        let shared = Arc::new(Mutex::new(Shared { child, ends: Vec::new(), is_over: false }));
        let watched = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_millis(10));
                let mut shared = watched.lock().unwrap();
                if shared.is_over {
                    return;
                }
                if let Some(end) = shared.child.try_wait().unwrap() {
                    shared.ends.push(end);
                    shared.child = command.spawn().unwrap();
                }
            }
        });
        Supervised { shared, thread: Some(thread) }
    }

    /// How it ended, every time.
    pub(crate) fn ends(&self) -> Vec<ExitStatus> {
        self.shared.lock().unwrap().ends.clone()
    }

    pub(crate) fn kill(&self) {
        let pid = Pid::from_raw(self.shared.lock().unwrap().child.id().cast_signed());
        nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if let Ok(mut shared) = self.shared.lock() {
            shared.is_over = true;
            let _ = shared.child.kill();
            let _ = shared.child.wait();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
