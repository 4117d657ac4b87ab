//! The fields that requests of all kinds share.

use serde_json::Value;

use crate::TokenId;
use crate::engine::{Method, SessionOptions};
use crate::server::asks::{Asks, Grammar};
use crate::server::error::ApiError;
use crate::server::fields::Fields;

/// Most choices of one request.
const MAX_CHOICES: usize = 64;
/// Most log-probabilities of one token.
const MAX_LOGPROBS: usize = 20;

/// Whose API a request is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's chat.
    Chat,
    /// OpenAI's completions.
    Completion,
    /// OpenAI's responses.
    Responses,
    /// llama-server's own.
    Native,
}

/// What a request gets that says nothing.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// How tokens are drawn, and where answers end.
    pub asks: Asks,
    /// How to draft; no request may draft larger trees.
    pub options: SessionOptions,
    /// Most tokens of an answer.
    pub max_new_tokens: usize,
    /// Number of tokens in the vocabulary.
    pub n_vocab: usize,
}

/// What a request asks for beside its prompt.
#[derive(Clone, Debug)]
pub struct Params {
    /// Most tokens of the answer.
    pub max_new_tokens: usize,
    /// How tokens are drawn, and where the answer ends.
    pub asks: Asks,
    /// How to draft.
    pub options: SessionOptions,
    /// The text that the answer is expected to be.
    pub prediction: Option<String>,
    /// Whether to draft from other requests.
    pub reads_pool: bool,
    /// Whether others may draft from this request.
    pub feeds_pool: bool,
    /// Whether to keep what the cache has in common with the prompt.
    pub cache_prompt: bool,
    /// Number of answers to each prompt.
    pub n: usize,
    /// Whether to send the answer while it is generated.
    pub stream: bool,
    /// Whether the last chunk says what the answer took.
    pub include_usage: bool,
    /// Whether chunks say where drafted text came from.
    pub shows_drafts: bool,
    /// Whether every chunk says what the answer took so far.
    pub times_chunks: bool,
}

impl Params {
    /// Reads and checks the fields.
    ///
    /// # Errors
    /// If one is wrong, or cannot be served.
    pub fn read(
        fields: Fields<'_>,
        dialect: Dialect,
        defaults: &Defaults,
    ) -> Result<Self, ApiError> {
        // Nobody serves two models here. But a name must be one.
        fields.text("model")?;
        let mut asks = defaults.asks.clone();
        read_sampling(&fields, &mut asks)?;
        read_other_samplers(&fields, &mut asks)?;
        if let Some(stop) = fields.texts("stop")? {
            asks.stop = stop;
            asks.stop.retain(|text| !text.is_empty());
        }
        asks.logprobs = logprobs(&fields, dialect)?;
        asks.logit_bias = logit_bias(&fields, defaults.n_vocab)?;
        asks.ignore_eos = fields.switch("ignore_eos")?.unwrap_or(false);
        asks.grammar = grammar(&fields, dialect)?;
        let (reads_pool, feeds_pool) = pool_use(&fields)?;
        let stream_options = fields.object("stream_options")?;
        let include_usage = stream_options.map_or(Ok(None), |object| {
            Fields::within(object, "stream_options.").switch("include_usage")
        })?;
        let params = Self {
            max_new_tokens: max_tokens(&fields, dialect)?.unwrap_or(defaults.max_new_tokens),
            asks,
            options: speculative(&fields, defaults.options)?,
            prediction: prediction(&fields)?,
            reads_pool,
            feeds_pool,
            cache_prompt: fields.switch("cache_prompt")?.unwrap_or(true),
            n: fields.count("n", 1..=MAX_CHOICES)?.unwrap_or(1),
            stream: fields.switch("stream")?.unwrap_or(false),
            include_usage: include_usage.unwrap_or(false),
            shows_drafts: fields.switch("return_drafts")?.unwrap_or(false),
            times_chunks: fields.switch("timings_per_token")?.unwrap_or(false),
        };
        params.check()?;
        Ok(params)
    }

    /// Whether this build can serve them.
    ///
    /// # Errors
    /// If not.
    pub fn check(&self) -> Result<(), ApiError> {
        match self.asks.unsupported() {
            Some(name) => Err(ApiError::unsupported(name)),
            None => Ok(()),
        }
    }
}

fn max_tokens(fields: &Fields<'_>, dialect: Dialect) -> Result<Option<usize>, ApiError> {
    let names: &[&str] = match dialect {
        Dialect::Chat => &["max_completion_tokens", "max_tokens", "n_predict"],
        Dialect::Completion => &["max_tokens", "n_predict"],
        Dialect::Responses => &["max_output_tokens"],
        Dialect::Native => &["n_predict", "max_tokens"],
    };
    for name in names {
        if let Some(limit) = fields.tokens(name, dialect == Dialect::Native)? {
            return Ok(Some(limit));
        }
    }
    Ok(None)
}

fn read_sampling(fields: &Fields<'_>, asks: &mut Asks) -> Result<(), ApiError> {
    let sampling = &mut asks.sampling;
    let set = |name: &str, range, place: &mut f32| -> Result<(), ApiError> {
        if let Some(number) = fields.number(name, range)? {
            *place = number as f32;
        }
        Ok(())
    };
    set("temperature", 0.0..=2.0, &mut sampling.temperature)?;
    set("top_p", 0.0..=1.0, &mut sampling.top_p)?;
    set("min_p", 0.0..=1.0, &mut sampling.min_p)?;
    set("repeat_penalty", 0.01..=100.0, &mut sampling.repeat_penalty)?;
    if let Some(k) = fields.integer("top_k", -1..=1 << 31)? {
        // Both 0 and -1 are for all tokens.
        sampling.top_k = usize::try_from(k).unwrap_or(0);
    }
    if let Some(last) = fields.integer("repeat_last_n", -1..=1 << 31)? {
        sampling.repeat_last_n = usize::try_from(last).unwrap_or(usize::MAX);
    }
    if let Some(seed) = fields
        .integer("seed", i64::MIN..=i64::MAX)?
        .filter(|&it| it != -1)
    {
        sampling.seed = seed.cast_unsigned();
        asks.has_seed = true;
    }
    Ok(())
}

fn read_other_samplers(fields: &Fields<'_>, asks: &mut Asks) -> Result<(), ApiError> {
    /// The name, and the range.
    const OTHERS: [(&str, f64, f64); 6] = [
        ("typical_p", 0.0, 1.0),
        ("top_n_sigma", -1.0, 100.0),
        ("xtc_probability", 0.0, 1.0),
        ("dynatemp_range", 0.0, 100.0),
        ("dry_multiplier", 0.0, 100.0),
        ("mirostat", 0.0, 2.0),
    ];
    let penalty = |name: &str| fields.number(name, -2.0..=2.0);
    asks.presence_penalty = penalty("presence_penalty")?;
    asks.frequency_penalty = penalty("frequency_penalty")?;
    for (name, low, high) in OTHERS {
        if let Some(number) = fields.number(name, low..=high)? {
            asks.other_samplers.push((name, number));
        }
    }
    if fields.get("samplers").is_some() {
        asks.samplers = fields.texts("samplers")?;
    }
    Ok(())
}

/// How many log-probabilities: `None` for none at all.
fn logprobs(fields: &Fields<'_>, dialect: Dialect) -> Result<Option<usize>, ApiError> {
    match dialect {
        Dialect::Completion => fields.count("logprobs", 0..=MAX_LOGPROBS),
        Dialect::Native => {
            let count = fields.count("n_probs", 0..=MAX_LOGPROBS)?;
            Ok(count.filter(|&count| count > 0))
        }
        Dialect::Chat | Dialect::Responses => {
            let wanted = match dialect {
                Dialect::Chat => fields.switch("logprobs")?.unwrap_or(false),
                _ => fields.get("top_logprobs").is_some(),
            };
            let top = fields.count("top_logprobs", 0..=MAX_LOGPROBS)?;
            match (wanted, top) {
                (false, Some(1..)) => {
                    Err(fields.wrong("top_logprobs", "needs \"logprobs\": true beside it"))
                }
                (false, _) => Ok(None),
                // 0 is what some clients always send.
                (true, Some(0)) if dialect == Dialect::Responses => Ok(None),
                (true, top) => Ok(Some(top.unwrap_or(0))),
            }
        }
    }
}

/// OpenAI's object of biases by token, or llama-server's list of pairs.
fn logit_bias(fields: &Fields<'_>, n_vocab: usize) -> Result<Vec<(TokenId, f64)>, ApiError> {
    const WANTED: &str =
        "give an object of numbers from -100 to 100 by token, such as {\"15\": -1}";
    let wrong = || fields.wrong("logit_bias", WANTED);
    let bias = |token: Option<u64>, bias: &Value| {
        let token = token.filter(|&it| it < n_vocab as u64);
        let token = token
            .and_then(|it| TokenId::try_from(it).ok())
            .ok_or_else(wrong)?;
        match bias {
            Value::Bool(false) => Ok((token, f64::NEG_INFINITY)),
            other => {
                let number = other.as_f64().filter(|it| (-100.0..=100.0).contains(it));
                Ok((token, number.ok_or_else(wrong)?))
            }
        }
    };
    match fields.get("logit_bias") {
        None => Ok(Vec::new()),
        Some(Value::Object(map)) => map
            .iter()
            .map(|(token, number)| bias(token.parse().ok(), number))
            .collect(),
        Some(Value::Array(pairs)) => pairs
            .iter()
            .map(|pair| match pair.as_array().map(Vec::as_slice) {
                Some([token, number]) => bias(token.as_u64(), number),
                _ => Err(wrong()),
            })
            .collect(),
        Some(_) => Err(wrong()),
    }
}

/// What the answer has to follow.
fn grammar(fields: &Fields<'_>, dialect: Dialect) -> Result<Option<Grammar>, ApiError> {
    if let Some(text) = fields
        .text("grammar")?
        .filter(|text| !text.trim().is_empty())
    {
        return Ok(Some(Grammar::Gbnf(text.to_owned())));
    }
    if let Some(schema) = fields.object("json_schema")? {
        return Ok(Some(Grammar::JsonSchema(Value::Object(schema.clone()))));
    }
    let name = "response_format";
    let (name, format) = match dialect {
        Dialect::Responses => {
            let text = fields.object("text")?;
            let within = text.map(|text| Fields::within(text, "text."));
            (
                "text.format",
                within.map_or(Ok(None), |text| text.object("format"))?,
            )
        }
        _ => (name, fields.object(name)?),
    };
    let Some(format) = format else {
        return Ok(None);
    };
    let wrong = |message: &str| Err(ApiError::of_field(name, message));
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(match format.get("schema") {
            Some(schema) => Grammar::JsonSchema(schema.clone()),
            None => Grammar::JsonObject,
        })),
        Some("json_schema") => {
            let inner = format.get("json_schema").unwrap_or(&Value::Null);
            match inner.get("schema").or_else(|| format.get("schema")) {
                Some(schema @ (Value::Object(_) | Value::Bool(_))) => {
                    Ok(Some(Grammar::JsonSchema(schema.clone())))
                }
                _ => wrong("give a JSON schema in json_schema.schema"),
            }
        }
        _ => wrong("give the type text, json_object or json_schema"),
    }
}

/// `false`, `true`, or an object that says how.
fn speculative(fields: &Fields<'_>, defaults: SessionOptions) -> Result<SessionOptions, ApiError> {
    let mut options = defaults;
    let object = match fields.get("speculative") {
        None | Some(Value::Bool(true)) => return Ok(options),
        Some(Value::Bool(false)) => {
            options.method = Method::Baseline;
            return Ok(options);
        }
        Some(Value::Object(object)) => object,
        Some(_) => return Err(fields.wrong("speculative", "give an object, true or false")),
    };
    let of = Fields::within(object, "speculative.");
    if let Some(name) = of.text("method")? {
        let method = name.parse::<Method>();
        options.method = method.map_err(|error| of.wrong("method", error))?;
    }
    let most = defaults.draft_tree_capacity;
    if let Some(capacity) = of.count("draft_tree_capacity", 1..=most)? {
        options.draft_tree_capacity = capacity;
    }
    if let Some(size) = of.count("max_ngram_size", 1..=1024)? {
        options.method_params.max_ngram_size = Some(size);
    }
    if let Some(tokens) = of.count("num_pred_tokens", 0..=65_536)? {
        options.method_params.num_pred_tokens = Some(tokens);
    }
    if let Some(fill) = of.switch("fill_tree")? {
        options.fill_tree = fill;
    }
    Ok(options)
}

/// OpenAI's predicted output: a text, or a list of texts.
fn prediction(fields: &Fields<'_>) -> Result<Option<String>, ApiError> {
    let Some(object) = fields.object("prediction")? else {
        return Ok(None);
    };
    let of = Fields::within(object, "prediction.");
    if of.text("type")?.is_some_and(|kind| kind != "content") {
        return Err(of.wrong("type", "give \"content\""));
    }
    match of.get("content") {
        Some(content) => text_of_parts(content)
            .map(Some)
            .ok_or_else(|| of.wrong("content", "give a text or a list of text parts")),
        None => Err(of.wrong("content", "is missing: give the text that you expect")),
    }
}

/// Whether to draft from others, and whether others may draft from this request.
fn pool_use(fields: &Fields<'_>) -> Result<(bool, bool), ApiError> {
    match fields.get("shared_pool") {
        None => Ok((true, true)),
        Some(Value::Bool(both)) => Ok((*both, *both)),
        Some(Value::Object(object)) => {
            let of = Fields::within(object, "shared_pool.");
            let reads = of.switch("read")?.unwrap_or(true);
            Ok((reads, of.switch("feed")?.unwrap_or(true)))
        }
        Some(_) => Err(fields.wrong("shared_pool", "give an object, true or false")),
    }
}

/// A text, or the joined texts of a list of typed parts.
pub fn text_of_parts(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().map(text_of_part).collect(),
        _ => None,
    }
}

fn text_of_part(part: &Value) -> Option<String> {
    let kind = part.get("type")?.as_str()?;
    let is_text = ["text", "input_text", "output_text"].contains(&kind);
    let text = part.get("text")?.as_str()?;
    is_text.then(|| text.to_owned())
}
