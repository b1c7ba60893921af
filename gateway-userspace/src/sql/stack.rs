//! Threads with deep stacks for parsing and walking.
//!
//! The grammar's C code, the decoder and the walk recurse over the statement; the stacks of an
//! async runtime are too small for what the limits allow.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use tokio::sync::{mpsc, oneshot};

/// Enough for the deepest tree without optimisation; memory only as far as it is used.
const STACK: usize = 256 * 1024 * 1024;
/// Jobs that wait; beyond that, callers wait to hand theirs in.
const QUEUE: usize = 256;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads with deep stacks. They end when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct BigStack {
    jobs: mpsc::Sender<Job>,
}

/// Why a job gave no result.
#[derive(Debug, thiserror::Error)]
pub enum BigStackError {
    /// The job panicked; the thread lives on.
    #[error("a parser job panicked: {0}")]
    Panicked(String),
    /// The threads have ended.
    #[error("the parser threads have ended")]
    Ended,
}

impl BigStack {
    /// Starts `threads` threads (at least one).
    pub fn start(threads: usize) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for index in 0..threads.max(1) {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("sql-{index}"))
                .stack_size(STACK)
                .spawn(move || {
                    loop {
                        let job = queue
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .blocking_recv();
                        match job {
                            Some(job) => job(),
                            None => break,
                        }
                    }
                })?;
        }
        Ok(Self { jobs })
    }

    /// Runs `work` on one of the threads and waits for its result.
    pub async fn run<T, F>(&self, work: F) -> Result<T, BigStackError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            // A caller that went away does not need the answer.
            let _ = answer.send(caught(work));
        });
        self.jobs
            .send(job)
            .await
            .map_err(|_closed| BigStackError::Ended)?;
        result.await.map_err(|_closed| BigStackError::Ended)?
    }
}

fn caught<T>(work: impl FnOnce() -> T) -> Result<T, BigStackError> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|payload| BigStackError::Panicked(panic_text(payload.as_ref())))
}

/// Runs `work` on a thread of its own with a deep stack, and blocks until it is done. For tools
/// and tests; the daemon uses [`BigStack::run`].
pub fn run_on_big_stack<T, F>(work: F) -> Result<T, BigStackError>
where
    T: Send,
    F: FnOnce() -> T + Send,
{
    thread::scope(|scope| {
        let handle = thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|_spawn| BigStackError::Ended)?;
        handle
            .join()
            .map_err(|payload| BigStackError::Panicked(panic_text(payload.as_ref())))
    })
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "no message".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_that_panics_does_not_take_the_threads_with_it() {
        let stack = BigStack::start(1).expect("starts");
        let lost: Result<(), _> = stack.run(|| panic!("oh")).await;
        assert!(matches!(lost, Err(BigStackError::Panicked(text)) if text == "oh"));
        assert_eq!(stack.run(|| 7).await.expect("runs"), 7);
    }
}
