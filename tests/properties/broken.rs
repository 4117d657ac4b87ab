//! A model whose logits are no numbers from some place on.

use std::ops::ControlFlow;

use logitspec::TokenId;
use logitspec::engine::{FinishReason, GenerateError, Method, Session, SessionOptions, StepView};
use logitspec::logits::Row;
use logitspec::runtime::{DecodeError, ScriptedModel, TargetModel};
use logitspec::tree::{DraftTree, NodeId};
use logitspec::verify::SamplingParams;

/// Gives NaN from position `broken_from` on.
struct Broken {
    model: ScriptedModel,
    broken_from: usize,
    /// The positions of the last decode's nodes.
    positions: Vec<usize>,
    nan: Vec<f32>,
}

impl Broken {
    fn new(broken_from: usize) -> Self {
        Self {
            model: ScriptedModel::new(12, 1, 3, 400, 16),
            broken_from,
            positions: Vec::new(),
            nan: vec![f32::NAN; 12],
        }
    }
}

impl TargetModel for Broken {
    fn n_ctx(&self) -> usize {
        self.model.n_ctx()
    }
    fn n_vocab(&self) -> usize {
        self.model.n_vocab()
    }
    fn n_past(&self) -> usize {
        self.model.n_past()
    }
    fn n_batch(&self) -> usize {
        self.model.n_batch()
    }
    fn max_leaves(&self) -> usize {
        self.model.max_leaves()
    }
    fn is_end(&self, token: TokenId) -> bool {
        self.model.is_end(token)
    }
    fn append(&mut self, tokens: &[TokenId]) -> Result<(), DecodeError> {
        self.positions = vec![self.n_past() + tokens.len() - 1];
        self.model.append(tokens)
    }
    fn decode_tree(&mut self, redecode: &[TokenId], tree: &DraftTree) -> Result<(), DecodeError> {
        let root = self.n_past() + redecode.len();
        self.positions = (0..tree.len()).map(|it| root + tree.depth(it)).collect();
        self.model.decode_tree(redecode, tree)
    }
    fn row(&self, node: NodeId) -> Row<'_> {
        match self.positions[node] < self.broken_from {
            true => self.model.row(node),
            false => Row::from(&self.nan),
        }
    }
    fn commit(&mut self, tree: &DraftTree, path: &[NodeId]) {
        self.model.commit(tree, path);
    }
    fn truncate(&mut self, len: usize) {
        self.model.truncate(len);
    }
}

#[test]
fn an_answer_ends_where_the_logits_do_whatever_is_drafted() {
    const PROMPT: [TokenId; 3] = [1, 2, 3];
    for temperature in [0.0, 0.8] {
        for broken_from in [3, 4, 20, 41] {
            let said = |method| {
                let sampling = SamplingParams {
                    temperature,
                    ..SamplingParams::default()
                };
                let options = SessionOptions {
                    method,
                    ..SessionOptions::default()
                };
                let mut session =
                    Session::new(Broken::new(broken_from), options).with_request(sampling.into());
                let patient = &mut |_, _| ControlFlow::Continue(());
                session.prefill(&PROMPT, patient).unwrap();
                let patient = &mut |_: &StepView<'_>| ControlFlow::Continue(());
                let answer = session.generate(100, patient).unwrap();
                assert_eq!(
                    answer.finish,
                    FinishReason::Failed(DecodeError::NoFiniteLogit),
                    "{method}"
                );
                // Nothing is lost, and nothing changes.
                let again = session.step(5).unwrap_err();
                assert_eq!(again, GenerateError::Decode(DecodeError::NoFiniteLogit));
                assert_eq!(session.text(), [&PROMPT, &answer.tokens[..]].concat());
                answer.tokens
            };
            let plain = said(Method::Baseline);
            // The last token is the one after the last whole row.
            assert_eq!(PROMPT.len() + plain.len(), broken_from + 1);
            for method in Method::ALL {
                assert_eq!(said(method), plain, "{method} from {broken_from}");
            }
        }
    }
}

#[test]
fn a_prompt_without_finite_logits_has_no_answer() {
    let mut session = Session::new(Broken::new(0), SessionOptions::default());
    let patient = &mut |_, _| ControlFlow::Continue(());
    session.prefill(&[1, 2], patient).unwrap();
    let patient = &mut |_: &StepView<'_>| ControlFlow::Continue(());
    let answer = session.generate(9, patient).unwrap();
    assert_eq!(
        (answer.tokens.len(), answer.finish),
        (0, FinishReason::Failed(DecodeError::NoFiniteLogit))
    );
}
