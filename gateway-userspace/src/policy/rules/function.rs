//! Calls of functions.

use crate::{
    policy::{
        Reason, ReasonCode,
        evaluate::{Weighing, line},
        grant::{Rule, Verb},
        pattern::qualified,
    },
    sql::{FunctionClass, FunctionUse},
};

pub(in crate::policy) fn weigh(
    weighing: &mut Weighing<'_>,
    function: &FunctionUse,
) -> Result<(), Reason> {
    let admission = weighing.admission;
    let name = qualified(&function.schema, &function.name);
    let what = format!("calling {name}");
    for (grant, index, rule) in admission.deny_rules() {
        if matches(rule, function) {
            weighing.denied(&what, grant, index, rule)?;
        }
    }
    let mut allowed = match function.class {
        FunctionClass::Pure | FunctionClass::Catalog => true,
        FunctionClass::Other => false,
    };
    // `all` cannot vouch for a function whose effects are hidden while other rules limit what
    // may be seen or done; a `call` rule that names it can.
    let mut hidden = false;
    let unseen = function.class == FunctionClass::Other && !shows_no_values(function);
    for (grant, index, approve) in admission.approve_rules() {
        if matches(&approve.rule, function) {
            weighing.hold(grant, index, approve, &what, unseen);
            let vouches = approve.rule.verb == Verb::Call
                || shows_no_values(function)
                || !(admission.has_masks() || admission.has_denies());
            allowed |= vouches;
            hidden |= !vouches;
        }
    }
    if function.class == FunctionClass::Other {
        for (grant, rule) in admission.allow_rules() {
            if matches(rule, function) {
                let vouches = rule.verb == Verb::Call
                    || shows_no_values(function)
                    || admission.is_unconditional();
                if vouches {
                    weighing.allowed_by(grant);
                }
                allowed |= vouches;
                hidden |= !vouches;
            }
        }
    }
    if allowed {
        return Ok(());
    }
    let line = line("call", &name);
    if hidden {
        let reason = Reason {
            code: ReasonCode::NotPermitted,
            message: format!(
                "{what} is not covered by `all` where deny, approve or mask rules apply"
            ),
            rule: "default deny".to_owned(),
            hint: format!(
                "what the function does inside cannot be checked; if it is safe, add `{line}` to allow in grant {}",
                admission.example_grant()
            ),
        };
        return weighing.refuse_by_default(unseen, reason);
    }
    let reason = weighing.default_deny(&what, &line);
    weighing.refuse_by_default(unseen, reason)
}

fn matches(rule: &Rule, function: &FunctionUse) -> bool {
    let about_functions = match rule.verb {
        Verb::Call | Verb::All => true,
        Verb::Select
        | Verb::Insert
        | Verb::Update
        | Verb::Delete
        | Verb::Truncate
        | Verb::Ddl
        | Verb::Set => false,
    };
    about_functions
        && rule.targets.iter().any(|target| {
            // Functions that only compute, and every operator is one, are singled out by name
            // or not at all.
            let singled_out = match function.class {
                FunctionClass::Pure | FunctionClass::Catalog => !target.object.name.is_any(),
                FunctionClass::Other => true,
            };
            singled_out && target.object.matches(&function.schema, &function.name)
        })
}

/// Built-in functions with side effects that neither read tables nor run text.
fn shows_no_values(function: &FunctionUse) -> bool {
    function.schema == "pg_catalog"
        && matches!(
            function.name.as_str(),
            "nextval"
                | "currval"
                | "lastval"
                | "setval"
                | "pg_sleep"
                | "pg_sleep_for"
                | "pg_sleep_until"
                | "pg_advisory_lock"
                | "pg_advisory_lock_shared"
                | "pg_advisory_unlock"
                | "pg_advisory_unlock_shared"
                | "pg_advisory_unlock_all"
                | "pg_advisory_xact_lock"
                | "pg_advisory_xact_lock_shared"
                | "pg_try_advisory_lock"
                | "pg_try_advisory_lock_shared"
                | "pg_try_advisory_xact_lock"
                | "pg_try_advisory_xact_lock_shared"
        )
}
