//! How a child ended, and what it read from.

use serde::Serialize;

/// What stands between us and a child of a destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InputKind {
    /// A socket that looks cut to the child unless it is ended in order, even if we are killed.
    Armed,
    /// A plain pipe: a cut stream looks whole.
    Pipe,
}

/// Who ended a child.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EndedBy {
    /// It ended after we had asked it to, or had closed its pipe before its time.
    Asked,
    #[default]
    Itself,
    /// It ended after we had killed it.
    Killed,
}

/// How a child ended.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct ChildStatus {
    /// Its exit code; none if a signal ended it, or if nothing is known.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// Its exit code is one that means well: 0, or what `ok=` names.
    pub(crate) good: bool,
    /// We closed its pipe before its end, asked it to end or killed it: the status is a consequence, not a cause.
    pub(crate) stopped: bool,
    pub(crate) ended_by: EndedBy,
    /// Who of its tree is still there although it was killed.
    pub(crate) left: Vec<String>,
    /// The bytes of each of `left` in base64, if a name among them is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left_base64: Option<Vec<String>>,
    /// Why whoever it left behind ends with us, if they could not be let go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_let_go: Option<String>,
}

impl ChildStatus {
    /// Whether it ended well, or badly as a mere consequence of our stopping.
    pub(crate) fn is_good(&self) -> bool {
        self.stopped || self.good
    }

    /// What there is to say of whoever it left behind, if they do not live on.
    pub(crate) fn warning(&self) -> Option<String> {
        let error = self.not_let_go.as_ref()?;
        Some(format!(
            "whoever it left behind ends with this program: {error}"
        ))
    }
}
