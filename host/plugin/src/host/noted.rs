//! A call that is one exchange, noted for the story of the run also when the run is cut in the midst of it.

use crate::calls::{CallId, Came};
use crate::trace::Trace;

/// A call under way, with what it has gone through so far. A run that is cut drops it where it stands.
pub(super) struct Noted<T> {
    trace: Trace,
    id: CallId,
    /// None once the call has come to its end.
    course: Option<T>,
    cut: fn(T) -> Came,
}

impl<T> Noted<T> {
    /// A call begins; `cut` tells of one that did not end.
    pub(super) fn begin(trace: &Trace, what: &str, course: T, cut: fn(T) -> Came) -> Self {
        Self { trace: trace.clone(), id: trace.begin(what, None), course: Some(course), cut }
    }

    /// What the call has gone through so far.
    pub(super) fn course(&mut self) -> &mut T {
        self.course.as_mut().expect("it is taken only by `end` and by `drop`, after which there is no call")
    }

    /// The call has come to its end: what is left of it, and how it is told.
    pub(super) fn end<E>(mut self, finish: impl FnOnce(T) -> E, came: impl FnOnce(&E) -> Came) -> E {
        let course = self.course.take().expect("it is taken only by `end` and by `drop`");
        let exchange = finish(course);
        self.trace.end(self.id, came(&exchange));
        exchange
    }
}

impl<T> Drop for Noted<T> {
    fn drop(&mut self) {
        if let Some(course) = self.course.take() {
            self.trace.end(self.id, (self.cut)(course));
        }
    }
}
