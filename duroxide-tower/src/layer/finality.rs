//! Which outcomes of the inner service are final.

use std::sync::Arc;

/// Decides which outcomes of the inner service are recorded as the answer to a request.
///
/// Implemented by [`Responses`], which a layer has by default, and [`FinalWhen`], made by
/// [`DurableLayer::final_when`](crate::DurableLayer::final_when).
#[diagnostic::on_unimplemented(
    message = "the predicate of `final_when` is not one for responses `{R}` and errors `{E}`",
    note = "it takes `Result<&{R}, &{E}>`, of the service that the layer is applied to"
)]
pub trait Finality<R, E>: Send + Sync + 'static {
    /// Whether this outcome is recorded, or the request tried again. A panic here counts as a panic
    /// of the inner service.
    fn is_final(&self, outcome: Result<&R, &E>) -> bool;
}

/// Every response is final, and no error is: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Responses;

impl<R, E> Finality<R, E> for Responses {
    fn is_final(&self, outcome: Result<&R, &E>) -> bool {
        outcome.is_ok()
    }
}

type Predicate<R, E> = dyn Fn(Result<&R, &E>) -> bool + Send + Sync;

/// What a predicate says is final.
pub struct FinalWhen<R, E>(Arc<Predicate<R, E>>);

impl<R, E> FinalWhen<R, E> {
    pub(super) fn new(is_final: impl Fn(Result<&R, &E>) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_final))
    }
}

impl<R: 'static, E: 'static> Finality<R, E> for FinalWhen<R, E> {
    fn is_final(&self, outcome: Result<&R, &E>) -> bool {
        (self.0)(outcome)
    }
}

impl<R, E> Clone for FinalWhen<R, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R, E> std::fmt::Debug for FinalWhen<R, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FinalWhen")
    }
}
