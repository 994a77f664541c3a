//! The writer's queue: bounded for those who write, drained whole by the one thread that commits.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redb::WriteTransaction;
use tokio::sync::{Semaphore, oneshot};

use super::StoreError;

/// One unit of work: all of it is in a commit, or none.
pub(super) trait Job: Send {
    /// True if it changed anything. May be called again, in a new transaction, when another job of the group failed.
    fn run(&mut self, txn: &WriteTransaction) -> Result<bool, StoreError>;
    /// Called once: the job's commit is on disk, or it failed.
    fn finish(self: Box<Self>, result: Result<(), StoreError>);
    /// Whether it is to be committed at once: someone waits for it, and has nothing else to do.
    fn is_awaited(&self) -> bool;
}

/// A job whose caller waits for the outcome.
pub(super) struct Awaited<T, F> {
    pub(super) run: F,
    pub(super) value: Option<T>,
    /// The caller would rather wait for the next commit than cause one.
    pub(super) is_patient: bool,
    pub(super) answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Awaited<T, F>
where
    F: FnMut(&WriteTransaction) -> Result<(T, bool), StoreError> + Send,
    T: Send,
{
    fn run(&mut self, txn: &WriteTransaction) -> Result<bool, StoreError> {
        let (value, changed) = (self.run)(txn)?;
        self.value = Some(value);
        Ok(changed)
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { value, answer, .. } = *self;
        // A caller that went away does not need the answer; its write is done all the same.
        let _ = answer.send(result.and_then(|()| value.ok_or(StoreError::Closed)));
    }

    fn is_awaited(&self) -> bool {
        !self.is_patient
    }
}

/// A job nobody waits for.
pub(super) struct Soon<F>(pub(super) F);

impl<F> Job for Soon<F>
where
    F: FnMut(&WriteTransaction) -> Result<(), StoreError> + Send,
{
    fn run(&mut self, txn: &WriteTransaction) -> Result<bool, StoreError> {
        (self.0)(txn)?;
        Ok(true)
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        if let Err(error) = result {
            log::warn!("store: a deferred write was not kept: {error}");
        }
    }

    fn is_awaited(&self) -> bool {
        false
    }
}

/// Who is likely to write in a moment: those whose writes came during the last commit, and those that it answered,
/// who as a rule go on with their next. Without waiting for the latter the two would take turns, and each commit would
/// serve half of them.
#[derive(Clone, Copy)]
pub(super) struct Company {
    pub(super) callers: usize,
    pub(super) until: Instant,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Box<dyn Job>>,
    awaited: usize,
    /// When the oldest job arrived.
    since: Option<Instant>,
    /// How many awaited jobs the writer is waiting for.
    wanted: usize,
    closed: bool,
}

pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    /// One permit for each free place.
    places: Semaphore,
    capacity: usize,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State::default()),
            arrived: Condvar::new(),
            places: Semaphore::new(capacity),
            capacity,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn push(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        let place = self.places.acquire().await.map_err(|_| StoreError::Closed)?;
        let mut state = self.lock();
        if state.closed {
            return Err(StoreError::Closed);
        }
        place.forget();
        let job_is_awaited = job.is_awaited();
        state.awaited += usize::from(job_is_awaited);
        state.since.get_or_insert_with(Instant::now);
        state.jobs.push_back(job);
        // Those that nobody waits for need no wake-up of their own, except to start the clock for the first and to
        // make room before the queue is full. The first that somebody waits for ends the writer's patience, whoever else
        // was expected.
        if (job_is_awaited && state.awaited == 1)
            || state.awaited == state.wanted.max(1)
            || state.jobs.len() == 1
            || state.jobs.len() >= self.capacity / 2
        {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits for work and takes up to `limit` jobs. None once the queue is closed and empty.
    ///
    /// Jobs that nobody waits for stay up to `patience` for one that somebody does, unless half the queue is theirs.
    /// Those that somebody waits for are taken at once, or when the expected company is complete.
    pub(super) fn take(
        &self,
        limit: usize,
        patience: Duration,
        expected: Company,
    ) -> Option<Vec<Box<dyn Job>>> {
        let mut state = self.lock();
        state.wanted = expected.callers.clamp(1, limit);
        loop {
            if state.closed || state.awaited >= state.wanted || state.jobs.len() >= self.capacity / 2 {
                break;
            }
            let end = match state.since {
                None => None,
                Some(_) if state.awaited > 0 => Some(expected.until),
                Some(since) => Some(since + patience),
            };
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        if state.jobs.is_empty() {
            return None;
        }
        let count = state.jobs.len().min(limit);
        let group: Vec<_> = state.jobs.drain(..count).collect();
        state.awaited -= group.iter().filter(|job| job.is_awaited()).count();
        state.since = (!state.jobs.is_empty()).then(Instant::now);
        drop(state);
        self.places.add_permits(count);
        Some(group)
    }

    /// How many jobs in it somebody waits for.
    pub(super) fn awaited(&self) -> usize {
        self.lock().awaited
    }

    pub(super) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Ends it for callers whose jobs nobody will do any more.
    pub(super) fn abandon(&self) {
        self.close();
        let jobs = {
            let mut state = self.lock();
            state.awaited = 0;
            std::mem::take(&mut state.jobs)
        };
        // Their callers get [`StoreError::Closed`].
        drop(jobs);
    }

    /// No more jobs from here on; those that are in it are still done.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.places.close();
        self.arrived.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn job() -> (Box<dyn Job>, oneshot::Receiver<Result<(), StoreError>>) {
        let (answer, answered) = oneshot::channel();
        let run = |_: &WriteTransaction| Ok(((), false));
        (Box::new(Awaited { run, value: None, is_patient: false, answer }), answered)
    }

    #[tokio::test]
    async fn an_abandoned_queue_keeps_nobody_waiting() {
        let queue = Arc::new(Queue::new(1));
        let (queued, answered) = job();
        queue.push(queued).await.unwrap();
        let waits_for_a_place = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.push(job().0).await }
        });
        tokio::task::yield_now().await;
        assert!(!waits_for_a_place.is_finished());
        queue.abandon();
        assert!(answered.await.is_err(), "the job's caller is told by the end of its channel");
        assert!(matches!(waits_for_a_place.await.unwrap(), Err(StoreError::Closed)));
        assert!(matches!(queue.push(job().0).await, Err(StoreError::Closed)));
        assert_eq!((queue.len(), queue.awaited()), (0, 0));
    }
}
