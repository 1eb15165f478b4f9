//! A poll of the wrapped actor's context, and why there is one.
//!
//! The pump has the task's own waker. Everything else in the context is woken through another one,
//! so that the keeper knows whether something ran that may have changed the state.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use futures::task::AtomicWaker;

#[derive(Default)]
pub(super) struct Turn {
    others: Arc<Others>,
    task: RefCell<Option<Waker>>,
    /// Something else than the pump was woken.
    has_others: Cell<bool>,
    /// The pump was polled.
    has_pumped: Cell<bool>,
    /// The second poll, after everything has run: the pump ends the run.
    is_last: Cell<bool>,
}

#[derive(Default)]
struct Others {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Others {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl Turn {
    /// A poll begins; returns the waker for the context. Whether something else than the pump was
    /// woken is known from here on.
    pub(super) fn begin(&self, cx: &Context<'_>) -> Waker {
        self.others.task.register(cx.waker());
        let mut task = self.task.borrow_mut();
        // Mostly it is the same one, and nothing is cloned.
        task.get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
        self.has_pumped.set(false);
        self.has_others.set(self.others.woken.swap(false, Ordering::AcqRel));
        self.others.clone().into()
    }

    pub(super) fn has_others(&self) -> bool {
        self.has_others.get()
    }

    pub(super) fn pump(&self) {
        self.has_pumped.set(true);
    }

    pub(super) fn has_pumped(&self) -> bool {
        self.has_pumped.get()
    }

    pub(super) fn set_last(&self, is_last: bool) {
        self.is_last.set(is_last);
    }

    pub(super) fn is_last(&self) -> bool {
        self.is_last.get()
    }

    /// The task's own waker.
    pub(super) fn waker(&self) -> Waker {
        self.task.borrow().clone().unwrap_or_else(|| Waker::noop().clone())
    }
}
