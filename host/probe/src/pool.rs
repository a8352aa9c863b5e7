//! A few threads for questions that may hang in the kernel for ever.
//!
//! Equal questions are asked once: who comes while one is open waits for the same answer, and is told `hung` at once
//! when it has been open for long. A thread in the kernel cannot be stopped, so it is left there; their number is
//! bounded, and a question that finds them all stuck ends at its deadline.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::failure::{Failure, code, phase};

/// Threads at most: so many filesystems may be stuck before healthy ones wait for them.
const MAX_THREADS: usize = 8;
/// Questions that wait for a thread; more than this are refused.
const MAX_QUEUE: usize = 256;
/// Who waits for one answer; more than this are refused.
const MAX_WAITERS: usize = 256;
/// A healthy filesystem answers in microseconds, a network one in milliseconds.
const HUNG_AFTER: Duration = Duration::from_secs(1);
/// How long a thread waits for the next question before it ends.
const IDLE: Duration = Duration::from_secs(30);
/// These threads make a few calls into the kernel.
const STACK: usize = 256 << 10;

type Work<Q, A> = dyn Fn(&Q) -> A + Send + Sync;

/// Threads that come when they are needed and go when they are not.
pub(crate) struct Pool<Q, A> {
    shared: Arc<Shared<Q, A>>,
}

struct Shared<Q, A> {
    work: Box<Work<Q, A>>,
    state: Mutex<State<Q, A>>,
    /// Told when there is a question, or when the pool is gone.
    changed: Condvar,
}

struct State<Q, A> {
    open: HashMap<Q, Open<A>>,
    queue: VecDeque<Q>,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct Open<A> {
    /// When a thread took it up. None: it is in the queue.
    since: Option<Instant>,
    waiters: Vec<oneshot::Sender<A>>,
}

impl<Q, A> Pool<Q, A>
where
    Q: Clone + Eq + Hash + Send + 'static,
    A: Clone + Send + 'static,
{
    pub(crate) fn new(work: impl Fn(&Q) -> A + Send + Sync + 'static) -> Pool<Q, A> {
        let state = State { open: HashMap::new(), queue: VecDeque::new(), threads: 0, idle: 0, closed: false };
        let shared = Shared { work: Box::new(work), state: Mutex::new(state), changed: Condvar::new() };
        Pool { shared: Arc::new(shared) }
    }

    /// The answer, or `hung` when the kernel keeps it, or `timeout` when no thread came to ask.
    pub(crate) async fn ask(&self, question: Q, deadline: tokio::time::Instant) -> Result<A, Failure> {
        let receiver = self.enlist(&question)?;
        match tokio::time::timeout_at(deadline, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(failed(code::IO, "the thread that asked is gone")),
            Err(_) => Err(self.late(&question)),
        }
    }

    fn enlist(&self, question: &Q) -> Result<oneshot::Receiver<A>, Failure> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.shared.lock();
        if let Some(open) = state.open.get_mut(question) {
            if open.since.is_some_and(|since| since.elapsed() >= HUNG_AFTER) {
                return Err(failed(code::HUNG, "an earlier question of this kind has not been answered yet"));
            }
            open.waiters.retain(|waiter| !waiter.is_closed());
            if open.waiters.len() >= MAX_WAITERS {
                return Err(failed(code::LIMIT, format!("{MAX_WAITERS} others wait for this answer")));
            }
            open.waiters.push(sender);
            return Ok(receiver);
        }
        if state.queue.len() >= MAX_QUEUE {
            return Err(failed(code::LIMIT, format!("{MAX_QUEUE} questions wait for {MAX_THREADS} threads")));
        }
        if state.idle > state.queue.len() {
            self.shared.changed.notify_one();
        } else if state.threads < MAX_THREADS {
            self.spawn(&mut state)?;
        }
        state.queue.push_back(question.clone());
        state.open.insert(question.clone(), Open { since: None, waiters: vec![sender] });
        Ok(receiver)
    }

    fn spawn(&self, state: &mut State<Q, A>) -> Result<(), Failure> {
        let shared = self.shared.clone();
        let thread = thread::Builder::new().name("roundsman-fs".to_owned()).stack_size(STACK);
        match thread.spawn(move || shared.serve()) {
            Ok(_) => state.threads += 1,
            // Others are there and will come to it.
            Err(_) if state.threads > 0 => {}
            Err(error) => return Err(failed(code::LIMIT, format!("no thread can be started: {error}"))),
        }
        Ok(())
    }

    fn late(&self, question: &Q) -> Failure {
        let state = self.shared.lock();
        match state.open.get(question) {
            Some(Open { since: None, .. }) => failed(
                code::TIMEOUT,
                format!("no thread was free to ask in time: {MAX_THREADS} at most, stuck ones among them"),
            ),
            _ => failed(code::HUNG, "the kernel does not answer"),
        }
    }
}

impl<Q: Clone + Eq + Hash, A: Clone> Shared<Q, A> {
    fn lock(&self) -> MutexGuard<'_, State<Q, A>> {
        // Nothing that holds the lock calls code that may panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does until there is nothing to do.
    fn serve(&self) {
        while let Some(question) = self.next() {
            let answer = (self.work)(&question);
            let waiters = self.lock().open.remove(&question).map(|open| open.waiters).unwrap_or_default();
            for waiter in waiters {
                // Whoever has gone meanwhile needs no answer.
                drop(waiter.send(answer.clone()));
            }
        }
    }

    /// The next question that somebody still waits for. None: this thread is no longer counted.
    fn next(&self) -> Option<Q> {
        let mut state = self.lock();
        loop {
            while let Some(question) = state.queue.pop_front() {
                if let Some(open) = state.open.get_mut(&question)
                    && open.waiters.iter().any(|waiter| !waiter.is_closed())
                {
                    open.since = Some(Instant::now());
                    return Some(question);
                }
                state.open.remove(&question);
            }
            state.idle += 1;
            let idle = |state: &mut State<Q, A>| state.queue.is_empty() && !state.closed;
            let waited = self.changed.wait_timeout_while(state, IDLE, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
            if state.queue.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }
}

fn failed(code: &'static str, message: impl Into<String>) -> Failure {
    Failure::new(code, phase::SYSTEM, message)
}

impl<Q, A> Drop for Pool<Q, A> {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.changed.notify_all();
    }
}

impl<Q, A> fmt::Debug for Pool<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Asks of a pool whose answers to odd questions come only when the gate opens.
    struct Stage {
        pool: Pool<u32, u32>,
        begun: Mutex<mpsc::Receiver<u32>>,
        gate: Arc<(Mutex<bool>, Condvar)>,
    }

    fn stage() -> Stage {
        let (sender, begun) = mpsc::channel();
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let own = gate.clone();
        let pool = Pool::new(move |question: &u32| {
            sender.send(*question).unwrap();
            if question % 2 == 1 {
                drop(own.1.wait_while(own.0.lock().unwrap(), |open| !*open).unwrap());
            }
            question * 10
        });
        Stage { pool, begun: Mutex::new(begun), gate }
    }

    impl Stage {
        async fn ask(&self, question: u32, ms: u64) -> Result<u32, &'static str> {
            let deadline = tokio::time::Instant::now() + Duration::from_millis(ms);
            self.pool.ask(question, deadline).await.map_err(|failure| failure.code)
        }

        /// Asks, and comes back when a thread has taken the question up.
        fn begin(&self, question: u32) -> oneshot::Receiver<u32> {
            let answer = self.pool.enlist(&question).unwrap();
            assert_eq!(self.begun.lock().unwrap().recv(), Ok(question));
            answer
        }

        fn open(&self) {
            *self.gate.0.lock().unwrap() = true;
            self.gate.1.notify_all();
        }

        fn age(&self, question: u32) {
            let mut state = self.pool.shared.lock();
            *state.open.get_mut(&question).unwrap().since.as_mut().unwrap() -= HUNG_AFTER;
        }
    }

    #[tokio::test]
    async fn answers() {
        let stage = stage();
        assert_eq!(stage.ask(2, 60_000).await, Ok(20));
        assert_eq!(stage.ask(4, 60_000).await, Ok(40));
        assert!(stage.pool.shared.lock().threads <= 2);
    }

    #[tokio::test]
    async fn a_stuck_question_holds_up_nobody_else() {
        let stage = stage();
        let first = stage.begin(1);
        assert_eq!(stage.ask(1, 1).await, Err(code::HUNG));
        stage.age(1);
        // At once: the deadline is far away.
        assert_eq!(stage.ask(1, 3_600_000).await, Err(code::HUNG));
        assert_eq!(stage.ask(2, 60_000).await, Ok(20));
        stage.open();
        assert_eq!(first.await, Ok(10));
        assert_eq!(stage.ask(1, 60_000).await, Ok(10));
    }

    #[tokio::test]
    async fn equal_questions_are_asked_once() {
        let stage = stage();
        let (first, second, ()) = tokio::join!(stage.ask(1, 60_000), stage.ask(1, 60_000), async { stage.open() });
        assert_eq!((first, second), (Ok(10), Ok(10)));
        assert_eq!(stage.begun.lock().unwrap().try_iter().count(), 1);
    }

    #[tokio::test]
    async fn threads_and_queue_are_bounded() {
        let stage = stage();
        let stuck: Vec<_> = (0..8).map(|n| stage.begin(n * 2 + 1)).collect();
        assert_eq!(stage.pool.shared.lock().threads, MAX_THREADS);
        assert_eq!(stage.ask(2, 1).await, Err(code::TIMEOUT));
        let waiting: Vec<_> =
            (1..MAX_QUEUE).map(|n| stage.pool.enlist(&(u32::try_from(n).unwrap() * 2 + 100))).collect();
        assert!(waiting.iter().all(Result::is_ok));
        assert_eq!(stage.ask(1_000, 1).await, Err(code::LIMIT));
        stage.open();
        for answer in stuck.into_iter().chain(waiting.into_iter().flatten()) {
            answer.await.unwrap();
        }
        assert_eq!(stage.pool.shared.lock().threads, MAX_THREADS);
    }
}
