//! The workers: dedicated OS threads behind one bounded queue, so that a slow token never holds a runtime thread.
//!
//! A caller waits for its answer until its deadline and no longer; the worker that serves it lives on. A full queue
//! refuses at once. Nothing here knows PKCS#11: a worker owns a station `S` and runs jobs on it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::error;

use super::error::HsmError;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// Threads with a station each.
pub(super) struct Pool<S> {
    queue: Arc<Queue<S>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    deadline: Duration,
}

impl<S: Send + 'static> Pool<S> {
    /// One thread per station.
    pub(super) fn start(stations: Vec<S>, capacity: usize, deadline: Duration) -> Result<Self, HsmError> {
        let pool = Self {
            queue: Arc::new(Queue::new(capacity)),
            threads: Mutex::new(Vec::new()),
            deadline,
        };
        for (n, station) in stations.into_iter().enumerate() {
            let queue = Arc::clone(&pool.queue);
            let thread = thread::Builder::new()
                .name(format!("hsm-{n}"))
                .spawn(move || queue.serve(station))
                .map_err(|e| HsmError::Device(format!("a worker thread cannot be started: {e}")))?;
            lock(&pool.threads).push(thread);
        }
        Ok(pool)
    }

    /// Queues `work` and waits for its answer, for the deadline or `at_least` so long. `work` is told the moment after
    /// which nobody waits for it any more.
    ///
    /// A caller that goes away does not stop work that has begun.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        at_least: Duration,
        work: impl FnOnce(&mut S, Instant) -> Result<T, HsmError> + Send + 'static,
    ) -> Result<T, HsmError> {
        let deadline = self.deadline.max(at_least);
        let until = Instant::now() + deadline;
        let (answer, answered) = oneshot::channel();
        self.queue.push(Box::new(move |station: &mut S| {
            if Instant::now() < until {
                // A caller that has gone needs no answer.
                let _ = answer.send(work(station, until));
            }
        }))?;
        match tokio::time::timeout(deadline, answered).await {
            Ok(Ok(result)) => result,
            // The job was dropped unanswered: the pool was stopped, its time had come in the queue, or it panicked.
            Ok(Err(_)) if !self.queue.is_open() => Err(HsmError::Closed),
            Ok(Err(_)) if Instant::now() < until => Err(HsmError::Device("the call broke off".to_owned())),
            Ok(Err(_)) | Err(_) => Err(HsmError::Deadline),
        }
    }
}

impl<S> Pool<S> {
    /// Takes no more work and joins the workers. One that hangs in the token for longer than a deadline is left
    /// behind: nothing can end it, and the process must be able to.
    pub(super) fn stop(&self) {
        self.queue.close();
        let until = Instant::now() + self.deadline;
        for thread in lock(&self.threads).drain(..) {
            while !thread.is_finished() && Instant::now() < until {
                thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                // Its jobs catch panics; there is nothing to hear from it.
                let _ = thread.join();
            } else {
                error!("a worker hangs in the token and is left behind");
            }
        }
    }
}

impl<S> Drop for Pool<S> {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Queue<S> {
    state: Mutex<State<S>>,
    changed: Condvar,
    capacity: usize,
}

struct State<S> {
    jobs: VecDeque<Job<S>>,
    open: bool,
}

impl<S> Queue<S> {
    fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                open: true,
            }),
            changed: Condvar::new(),
            capacity,
        }
    }

    fn push(&self, job: Job<S>) -> Result<(), HsmError> {
        let mut state = lock(&self.state);
        if !state.open {
            return Err(HsmError::Closed);
        }
        if state.jobs.len() >= self.capacity {
            return Err(HsmError::Busy);
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// The next job; `None` once the queue is closed.
    fn pop(&self) -> Option<Job<S>> {
        let mut state = self
            .changed
            .wait_while(lock(&self.state), |state| state.open && state.jobs.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        if state.open { state.jobs.pop_front() } else { None }
    }

    fn serve(&self, mut station: S) {
        while let Some(job) = self.pop() {
            // INVARIANT: a panic in a job (in the binding, say) costs that job its answer, never the pool a thread.
            if catch_unwind(AssertUnwindSafe(|| job(&mut station))).is_err() {
                error!("a call to the token panicked");
            }
        }
    }

    fn close(&self) {
        let mut state = lock(&self.state);
        state.open = false;
        state.jobs.clear();
        drop(state);
        self.changed.notify_all();
    }

    fn is_open(&self) -> bool {
        lock(&self.state).open
    }
}

/// A poisoned lock is taken over: what these locks guard is whole between any two statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const SHORT: Duration = Duration::from_millis(50);

    fn held(pool: &Arc<Pool<u32>>) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), HsmError>>) {
        let (release, held) = mpsc::channel();
        let (started, starts) = mpsc::channel();
        let pool = Arc::clone(pool);
        let caller = tokio::spawn(async move {
            pool.call(Duration::ZERO, move |_, _| {
                started.send(()).unwrap();
                held.recv().unwrap();
                Ok(())
            })
            .await
        });
        starts.recv().unwrap();
        (release, caller)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_full_queue_refuses_and_recovers() {
        let pool = Arc::new(Pool::start(vec![0], 1, Duration::from_secs(10)).unwrap());
        let (release, first) = held(&pool);
        let second = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.call(Duration::ZERO, |_, _| Ok(2)).await }
        });
        while lock(&pool.queue.state).jobs.is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(matches!(
            pool.call(Duration::ZERO, |_, _| Ok(3)).await,
            Err(HsmError::Busy)
        ));
        release.send(()).unwrap();
        first.await.unwrap().unwrap();
        assert_eq!(second.await.unwrap().unwrap(), 2);
        assert_eq!(pool.call(Duration::ZERO, |_, _| Ok(4)).await.unwrap(), 4);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_caller_gets_its_deadline_and_the_worker_lives_on() {
        let pool = Arc::new(Pool::start(vec![0], 8, SHORT).unwrap());
        let (release, slow) = held(&pool);
        assert!(matches!(
            pool.call(Duration::ZERO, |_, _| Ok(1)).await,
            Err(HsmError::Deadline)
        ));
        assert!(matches!(slow.await.unwrap(), Err(HsmError::Deadline)));
        release.send(()).unwrap();
        // The job whose caller had gone was skipped: the station has counted one call only.
        assert_eq!(
            pool.call(Duration::ZERO, |count, _| {
                *count += 1;
                Ok(*count)
            })
            .await
            .unwrap(),
            1
        );
    }

    #[tokio::test]
    async fn a_panic_costs_one_answer_and_no_thread() {
        let pool = Pool::start(vec![7], 8, Duration::from_secs(10)).unwrap();
        assert!(
            pool.call::<u32>(Duration::ZERO, |_, _| panic!("binding"))
                .await
                .is_err()
        );
        assert_eq!(pool.call(Duration::ZERO, |n, _| Ok(*n)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_stopped_pool_says_so() {
        let pool = Pool::start(vec![0], 8, Duration::from_secs(10)).unwrap();
        pool.stop();
        assert!(matches!(
            pool.call(Duration::ZERO, |_, _| Ok(1)).await,
            Err(HsmError::Closed)
        ));
    }
}
