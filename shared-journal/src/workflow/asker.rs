//! Who posted a message for an orchestration, as its letter has it.

use std::fmt;
use std::str::FromStr;

use super::INSTANCES;

/// Of those who do not wait for the outcome.
const TOLD: &str = "told/";

/// An execution that posted a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asker {
    /// It waits for the outcome. Else the letter stays only until the history shows that it was posted.
    pub(super) waits: bool,
    pub(super) execution: u64,
    /// Of the message.
    pub(super) id: String,
    pub(super) instance: String,
}

/// [`INSTANCES`] before it says whose host it is.
impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { waits, execution, id, instance } = self;
        let told = if *waits { "" } else { TOLD };
        write!(f, "{INSTANCES}/{told}{execution}/{id}/{instance}")
    }
}

impl FromStr for Asker {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let rest = text.strip_prefix(INSTANCES).and_then(|it| it.strip_prefix('/')).ok_or(())?;
        let told = rest.strip_prefix(TOLD);
        let mut parts = told.unwrap_or(rest).splitn(3, '/');
        let mut next = || parts.next().ok_or(());
        let execution = next()?.parse().map_err(drop)?;
        let (id, instance) = (next()?.to_owned(), next()?.to_owned());
        Ok(Self { waits: told.is_none(), execution, id, instance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_come_back_whatever_the_name_of_the_instance() {
        for waits in [true, false] {
            for instance in ["pay/1", "told/1/2", "", " %/🦀"] {
                let instance = instance.to_owned();
                let asker = Asker { waits, execution: 3, id: "an-id".into(), instance };
                assert_eq!(asker.to_string().parse(), Ok(asker));
            }
        }
        assert_eq!("a client".parse::<Asker>(), Err(()));
    }
}
