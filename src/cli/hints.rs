//! What to do about an error of the library, in terms of this program's flags.
//!
//! The library does not know the command line, so its errors name no flags. [`describe`] adds them.

use std::error::Error;
use std::iter::successors;

use crate::bench::AnswerError;
use crate::bench::run::RunError;
use crate::bench::server::ServerError;
use crate::engine::GenerateError;
use crate::engine::calibrate::CalibrationError;
use crate::hub::HubError;
use crate::report::ReportError;
use crate::runtime::llama::{DeviceError, LoadError};
use crate::runtime::{PromptError, TemplateError};
use crate::simulate::{InputError, LinePart, RecordKind, SpecialToken};
use crate::store::{Kind, TokenFileError};

/// An error with its causes and hints, as one line.
pub(super) fn describe(error: &(dyn Error + 'static)) -> String {
    let chain: Vec<_> = successors(Some(error), |&error| error.source()).collect();
    let causes: Vec<String> = chain.iter().map(ToString::to_string).collect();
    let hints = chain.iter().filter_map(|cause| hint(*cause));
    [causes.join(": ")]
        .into_iter()
        .chain(hints.map(ToOwned::to_owned))
        .collect::<Vec<_>>()
        .join("; ")
}

fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    None.or_else(|| of_load(error.downcast_ref()?))
        .or_else(|| of_template(error.downcast_ref()?))
        .or_else(|| of_prompt(error.downcast_ref()?))
        .or_else(|| of_token_file(error.downcast_ref()?))
        .or_else(|| of_generate(error.downcast_ref()?))
        .or_else(|| of_calibration(error.downcast_ref()?))
        .or_else(|| of_answers(error.downcast_ref()?))
        .or_else(|| of_run(error.downcast_ref()?))
        .or_else(|| of_server(error.downcast_ref()?))
        .or_else(|| of_report(error.downcast_ref()?))
        .or_else(|| of_input(error.downcast_ref()?))
        .or_else(|| of_hub(error.downcast_ref()?))
}

fn of_load(error: &LoadError) -> Option<&'static str> {
    match error {
        LoadError::Unreadable { .. } => Some("check -m/--model-path"),
        LoadError::Context { .. } => {
            Some("try a smaller -c/--ctx-size, or fewer GPU layers with -ngl")
        }
        LoadError::Memory { need, .. } if need.weights > need.cache => Some(
            "put fewer layers there with -ngl or --tensor-split, take a smaller quantization, or a \
             smaller -c/--ctx-size",
        ),
        LoadError::Memory { .. } => {
            Some("give a smaller -c/--ctx-size, or -ctk q8_0 -ctv q8_0, which halves the cache")
        }
        LoadError::Devices(error) => Some(of_devices(error)),
        _ => None,
    }
}

fn of_devices(error: &DeviceError) -> &'static str {
    match error {
        DeviceError::Unknown { .. } => "check --device; logitspec devices lists them",
        DeviceError::TooFew { .. } => "check --num-gpus-per-model",
        DeviceError::Main { .. } => "check --main-gpu",
        DeviceError::Shares { .. } => "check --tensor-split",
        DeviceError::NothingToSplit => "check --split-mode",
        DeviceError::Buffer { .. } | DeviceError::Pattern { .. } => "check --override-tensor",
    }
}

const TEMPLATE: &str = "choose another template with --template";

fn of_template(_: &TemplateError) -> Option<&'static str> {
    Some(TEMPLATE)
}

fn of_prompt(error: &PromptError) -> Option<&'static str> {
    match error {
        PromptError::Template(error) => of_template(error),
        PromptError::Tokenize(_) => None,
    }
}

fn of_token_file(error: &TokenFileError) -> Option<&'static str> {
    match error {
        TokenFileError::Version { kind, .. }
        | TokenFileError::Damaged { kind, .. }
        | TokenFileError::Vocabulary { kind, .. }
            if *kind == Kind::Corpus =>
        {
            Some("logitspec corpus build makes one")
        }
        _ => None,
    }
}

fn of_generate(error: &GenerateError) -> Option<&'static str> {
    match error {
        GenerateError::PromptTooLong { .. } => Some("-c/--ctx-size sets its size"),
        _ => None,
    }
}

fn of_calibration(error: &CalibrationError) -> Option<&'static str> {
    Some(match error {
        CalibrationError::Unusable { .. } => "run logitspec calibrate again, or remove the file",
        CalibrationError::Unwritable { .. } => {
            "nothing is kept: set LOGITSPEC_CACHE to another folder"
        }
    })
}

fn of_answers(error: &AnswerError) -> Option<&'static str> {
    match error {
        AnswerError::Open { .. } => Some("name another with --answer-file or --answer-dir"),
        AnswerError::InUse { .. } => {
            Some("wait until it is done, or give --answer-file another name")
        }
        _ => None,
    }
}

fn of_run(error: &RunError) -> Option<&'static str> {
    match error {
        RunError::Answers(error) => of_answers(error),
        RunError::Settings { .. } => {
            Some("use the same settings to resume, or --overwrite to start over")
        }
        RunError::NoManifest { .. } => {
            Some("give --overwrite to start over, or another --answer-file")
        }
        RunError::Ask { .. } => Some(
            "all earlier answers are kept: the same command without --overwrite resumes the run",
        ),
        _ => None,
    }
}

fn of_server(error: &ServerError) -> Option<&'static str> {
    match error {
        ServerError::Start { .. } => Some("check --llama-server"),
        ServerError::Ended { .. } => Some("check --llama-server-args"),
        _ => None,
    }
}

fn of_report(error: &ReportError) -> Option<&'static str> {
    match error {
        ReportError::Answers(error) => of_answers(error),
        ReportError::Overlap { .. } => {
            Some("give --mean-report if these are repeated runs, or else only one of the two files")
        }
        ReportError::NoBase => Some("name the files to compare with behind --base"),
        ReportError::TwoBases { .. } => Some("give --base the files of one method"),
        ReportError::QuestionSets { .. } | ReportError::Category { .. } => {
            Some("give --base the answers to the same questions")
        }
        _ => None,
    }
}

fn of_input(error: &InputError) -> Option<&'static str> {
    match error {
        InputError::Template(error) => of_template(error),
        InputError::Line {
            kind: RecordKind::Trace,
            ..
        }
        | InputError::Empty {
            kind: RecordKind::Trace,
            ..
        } => Some("give a file that logitspec generate --trace wrote"),
        InputError::Line { part, .. } => match part {
            LinePart::Whole => None,
            LinePart::Prompt => Some("name the prompt's key with --prompt-field"),
            LinePart::Response => Some("name the response's key with --response-field"),
            LinePart::Template => Some(TEMPLATE),
        },
        InputError::NoSuchToken { role, .. } => Some(match role {
            SpecialToken::Bos => "give --bos one of its special tokens, or none",
            SpecialToken::Eos => "give --eos one of its special tokens, or none",
        }),
        _ => None,
    }
}

fn of_hub(error: &HubError) -> Option<&'static str> {
    match error {
        HubError::Offline { .. } => Some("or name a local model file with -m"),
        _ => None,
    }
}
