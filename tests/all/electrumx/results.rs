//! Results that differ and yet say the same, or differ in a way that has a reason.

use serde_json::{Value, json};

/// What is noted of a session whose only request, of id 0, got an error.
pub(super) fn refused(code: i64, goes_on: bool) -> Value {
    json!({ "said": [{ "jsonrpc": "2.0", "id": 0, "error": code }], "goes on": goes_on })
}

pub(super) fn we_have_none(ours: &Value, theirs: &Value) -> bool {
    let none = ours.is_null() || ours.as_array().is_some_and(Vec::is_empty);
    none && !theirs.is_null()
}

pub(super) fn same_but_for_the_order_of_what_is_unconfirmed(ours: &Value, theirs: &Value) -> bool {
    let sorted = |outputs: &Value| -> Option<Vec<Value>> {
        let mut outputs = outputs.as_array()?.clone();
        let confirmed = outputs
            .iter()
            .take_while(|output| output["height"] != 0)
            .count();
        outputs[confirmed..].sort_by_key(ToString::to_string);
        Some(outputs)
    };
    sorted(ours).is_some_and(|ours| sorted(theirs) == Some(ours))
}

pub(super) fn same_but_for_services(ours: &Value, theirs: &Value) -> bool {
    let mut theirs = theirs.clone();
    let services = theirs
        .as_object_mut()
        .and_then(|theirs| theirs.remove("services"));
    let max = theirs["protocol_max"].take();
    theirs["protocol_max"] = json!("1.6");
    services.is_some() && max == "1.6.0" && *ours == theirs
}

/// Both refuse the same transactions of a package.
pub(super) fn same_package_but_for_texts(ours: &Value, theirs: &Value) -> bool {
    let refused = |told: &Value| -> Option<Vec<Value>> {
        let errors = told["errors"].as_array()?.iter();
        errors
            .map(|error| error["error"].is_string().then(|| error["txid"].clone()))
            .collect()
    };
    let ours_refused = refused(ours);
    ours["success"] == false
        && theirs["success"] == false
        && ours_refused.is_some()
        && ours_refused == refused(theirs)
}

/// Both tell of the same transactions of a package.
pub(super) fn same_package_told_in_less_words(ours: &Value, theirs: &Value) -> bool {
    let members = |told: &Value| -> Option<Vec<(String, Value)>> {
        let members = told["tx-results"].as_object()?.iter();
        Some(
            members
                .map(|(wtxid, member)| (wtxid.clone(), member["txid"].clone()))
                .collect(),
        )
    };
    let ours_told = members(ours);
    ours["package_msg"].is_string() && ours_told.is_some() && ours_told == members(theirs)
}

/// Both tell how much pays at least so much, at rates of their own: it never is less at a lower rate, and is the same
/// at the same.
pub(super) fn same_staircase(ours: &Value, theirs: &Value) -> bool {
    let (Some(ours), Some(theirs)) = (stairs(ours), stairs(theirs)) else {
        return false;
    };
    ours.iter().all(|(rate, size)| {
        theirs
            .iter()
            .all(|(their_rate, their_size)| rate.total_cmp(their_rate) == their_size.cmp(size))
    })
}

/// Fee rates, falling, with the virtual bytes that pay at least as much.
fn stairs(histogram: &Value) -> Option<Vec<(f64, u64)>> {
    let mut total = 0;
    let mut stairs: Vec<(f64, u64)> = Vec::new();
    for step in histogram.as_array()? {
        let rate = step[0].as_f64()?;
        total += step[1].as_u64().filter(|size| *size > 0)?;
        if stairs.last().is_some_and(|(above, _)| *above <= rate) {
            return None;
        }
        stairs.push((rate, total));
    }
    Some(stairs)
}
