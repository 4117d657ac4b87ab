//! The names of methods in a report.

use super::load::Method;

/// Gives each method a name that distinguishes it from the others.
///
/// This is its `method` key if all records are of one model. Otherwise it is the model's name
/// without the parts that all names share: `vicuna-7b-baseline-temp-0.0` and
/// `vicuna-7b-logitspec-temp-0.0` become `baseline` and `logitspec`.
pub(super) fn assign(methods: &mut [Method], base: &mut Method) {
    let mut all: Vec<&mut Method> = methods.iter_mut().chain([&mut *base]).collect();
    let one_model = all.iter().all(|method| method.model_id == all[0].model_id);
    let keyed = all.iter().all(|method| method.method.is_some());
    if !(one_model && keyed) {
        let full: Vec<String> = all.iter().map(|method| full_name(method)).collect();
        for (method, name) in all.iter_mut().zip(without_shared_parts(&full)) {
            method.name = name;
        }
    }
    if methods.iter().any(|method| method.name == base.name) {
        base.name.push_str(" (base)");
    }
}

/// The model and the method. In many files, `model_id` already includes the method.
fn full_name(method: &Method) -> String {
    match &method.method {
        Some(kind) if !method.model_id.contains(kind.as_str()) => {
            format!("{}-{kind}", method.model_id)
        }
        _ => method.model_id.clone(),
    }
}

/// The names without the dash-separated parts that all of them start or end with. They stay as they
/// are if one of them would become empty.
fn without_shared_parts(names: &[String]) -> Vec<String> {
    let mut parts: Vec<Vec<&str>> = names.iter().map(|name| name.split('-').collect()).collect();
    let front = shared_start(&parts);
    parts.iter_mut().for_each(|name| name.reverse());
    let back = shared_start(&parts);
    parts.iter_mut().for_each(|name| name.reverse());
    if parts.iter().any(|name| name.len() <= front + back) {
        return names.to_vec();
    }
    parts
        .iter()
        .map(|name| name[front..name.len() - back].join("-"))
        .collect()
}

fn shared_start(names: &[Vec<&str>]) -> usize {
    let shared = |at: &usize| {
        let part = names[0].get(*at);
        part.is_some() && names.iter().all(|name| name.get(*at) == part)
    };
    (0..).take_while(shared).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_they_share() {
        let short = |names: &[&str]| {
            without_shared_parts(&names.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(
            short(&["m-7b-baseline-temp-0.0", "m-7b-prompt-lookup-temp-0.0"]),
            ["baseline", "prompt-lookup"]
        );
        assert_eq!(short(&["m-7b", "m-7b-fast"]), ["m-7b", "m-7b-fast"]);
        assert_eq!(short(&["same", "same"]), ["same", "same"]);
        assert_eq!(
            short(&["a-x-b", "a-y-b", "other"]),
            ["a-x-b", "a-y-b", "other"]
        );
    }
}
