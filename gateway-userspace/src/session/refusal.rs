//! A refusal: what the client is told. A value, not an error.

use crate::{
    policy::{Reason, ReasonCode},
    sql::NotUnderstood,
};

/// The server's own hint for an unknown function.
const NO_FUNCTION: &str = "No function matches the given name and argument types. \
                           You might need to add explicit type casts.";

/// Why something is refused, in the words for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    sqlstate: &'static str,
    message: String,
    rule: Option<String>,
    hint: Option<String>,
    position: Option<usize>,
    reference: String,
    asks: Option<Box<str>>,
}

impl Refusal {
    /// A refusal by policy, with its reference in the evidence.
    pub fn new(reason: &Reason, reference: String) -> Self {
        Self {
            sqlstate: reason.sqlstate(),
            message: format!("cordon: {}", reason.message),
            rule: Some(reason.rule.clone()),
            hint: Some(reason.hint.clone()).filter(|hint| !hint.is_empty()),
            position: None,
            reference,
            asks: None,
        }
    }

    /// The error that the server itself would report: a name that does not exist, a syntax
    /// error. Carries nothing of ours, so that programs that depend on it keep working.
    pub fn as_server(sqlstate: &'static str, message: String) -> Self {
        Self {
            sqlstate,
            message,
            rule: None,
            hint: None,
            position: None,
            reference: String::new(),
            asks: None,
        }
    }

    /// What the server says to all that comes in a transaction that has failed.
    pub fn transaction_failed() -> Self {
        Self::as_server(
            "25P02",
            "current transaction is aborted, commands ignored until end of transaction block"
                .to_owned(),
        )
    }

    /// Has the server word the error of this text, which it cannot read either: it knows hints
    /// that help.
    #[must_use]
    pub fn worded_by_server(self, text: &str) -> Self {
        Self {
            asks: Some(text.into()),
            ..self
        }
    }

    /// The text that the server is asked about.
    pub fn asks(&self) -> Option<&str> {
        self.asks.as_deref()
    }

    /// A text that was not understood.
    pub fn not_understood(error: &NotUnderstood, reference: String) -> Self {
        let server = |sqlstate, message: &String, position: Option<usize>| Self {
            position,
            reference: reference.clone(),
            ..Self::as_server(sqlstate, message.clone())
        };
        match error {
            NotUnderstood::Syntax { message, position } => server("42601", message, *position),
            NotUnderstood::UnknownName {
                sqlstate,
                message,
                position,
            } => Self {
                hint: (*sqlstate == "42883").then(|| NO_FUNCTION.to_owned()),
                ..server(sqlstate, message, *position)
            },
            NotUnderstood::Limit(message) | NotUnderstood::Unsupported(message) => {
                Self::new(&reason_of(error, message), reference)
            }
        }
    }

    /// SQLSTATE.
    pub fn sqlstate(&self) -> &'static str {
        self.sqlstate
    }

    /// The primary message.
    pub fn message(&self) -> String {
        if self.rule.is_some() {
            format!("{} (ref {})", self.message, self.reference)
        } else {
            self.message.clone()
        }
    }

    /// The rule that decided.
    pub fn detail(&self) -> Option<String> {
        self.rule
            .as_ref()
            .map(|rule| format!("Decided by: {rule}."))
    }

    /// What would allow it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Position in the text, in characters from 1.
    pub fn position(&self) -> Option<usize> {
        self.position
    }

    /// Reference into the evidence: session and statement number.
    pub fn reference(&self) -> &str {
        &self.reference
    }
}

pub(super) fn reason_of(error: &NotUnderstood, message: &str) -> Reason {
    match error {
        NotUnderstood::Syntax { .. } => Reason {
            code: ReasonCode::Syntax,
            message: message.to_owned(),
            rule: "the grammar does not accept it".to_owned(),
            hint: String::new(),
        },
        NotUnderstood::UnknownName { .. } => Reason {
            code: ReasonCode::NotUnderstood,
            message: message.to_owned(),
            rule: "the catalog does not have it".to_owned(),
            hint: String::new(),
        },
        NotUnderstood::Limit(_) | NotUnderstood::Unsupported(_) => Reason {
            code: ReasonCode::NotUnderstood,
            message: message.to_owned(),
            rule: "what is not understood is denied".to_owned(),
            hint: "write it in a form that can be traced to tables and columns".to_owned(),
        },
    }
}

/// The code as the evidence spells it.
pub(super) fn code_name(code: ReasonCode) -> &'static str {
    match code {
        ReasonCode::NotPermitted => "not-permitted",
        ReasonCode::NotUnderstood => "not-understood",
        ReasonCode::Syntax => "syntax",
        ReasonCode::NotApproved => "not-approved",
        ReasonCode::NotAttributed => "not-attributed",
        ReasonCode::NotMaskable => "not-maskable",
        ReasonCode::TooMuch => "too-much",
        ReasonCode::TooOften => "too-often",
        ReasonCode::TooLong => "too-long",
        ReasonCode::SessionOver => "session-over",
        ReasonCode::Changed => "changed",
        ReasonCode::Fault => "fault",
    }
}
