//! The last look at an actor before the journal closes.

use std::task::Context;

use super::delivery::Work;
use super::intake::Mailbox;

impl<W: Work> Mailbox<W> {
    /// Whether the journal is about to close and waits for what the actor has not submitted. The
    /// task is woken when it does. An adapter that calls this once answers every time, with
    /// [`answer_closing`](Self::answer_closing) after the end of the run; the close waits for it for
    /// a second.
    pub fn poll_closing(&mut self, cx: &Context<'_>) -> bool {
        self.listen(cx);
        let closing = &self.session.engine().shared().closing;
        if !std::mem::replace(&mut self.answers_closing, true) {
            closing.listen(self.session.running());
        }
        closing.asks(self.session.running())
    }

    /// Everything that can be submitted is.
    pub fn answer_closing(&self) {
        if self.answers_closing {
            self.session.engine().shared().closing.answer(self.session.running());
        }
    }
}
