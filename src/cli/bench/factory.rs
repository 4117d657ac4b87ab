//! Makes the answerers of a benchmark.

use std::cell::RefCell;
use std::rc::Rc;

use super::contestants::Contestant;
use crate::bench::engine::{EngineAnswerer, SharedTarget};
use crate::bench::prompt::Prompter;
use crate::bench::run::{Answerer, AnswererFactory, BoxError};
use crate::bench::server::{LlamaServer, ServerAnswerer};
use crate::cli::cost::{Learning, known_cost};
use crate::cli::history::InitialMemory;
use crate::draft::Memory;
use crate::engine::{RequestOptions, SessionOptions};
use crate::runtime::llama::{ContextOptions, Model};

/// Makes the answerers of all contestants.
pub(super) struct Factory<'e> {
    pub contestants: &'e [Contestant],
    pub model: &'e Model,
    pub context: &'e ContextOptions,
    pub prompter: &'e Prompter<'e>,
    pub server: Option<&'e LlamaServer>,
    pub memory: &'e InitialMemory,
    /// One memory for all answerers that add nothing to it.
    pub shared_memory: Memory,
    pub keeps_history: bool,
    pub options: SessionOptions,
    pub request: RequestOptions,
    pub max_new_tokens: usize,
}

impl<'e> Factory<'e> {
    fn engine(&self, contestant: &Contestant, target: SharedTarget<'e>) -> Box<dyn Answerer + 'e> {
        let options = contestant.session_options(self.options);
        let known = known_cost(self.model, self.context, &options, false);
        let answerer = EngineAnswerer::new(
            target,
            self.prompter,
            options,
            self.request.clone(),
            self.max_new_tokens,
            known.start(),
        );
        let memory = self.memory;
        let answerer = match self.keeps_history {
            true => answerer.with_memory(|| memory.copy(), true),
            false => {
                let shared = self.shared_memory.clone();
                answerer.with_memory(move || shared.clone(), false)
            }
        };
        Box::new(Learning::new(answerer, known))
    }
}

impl<'e> AnswererFactory for Factory<'e> {
    /// The context of a thread. All its methods use it in turn.
    type Shared = Option<SharedTarget<'e>>;

    fn answerer(
        &self,
        method: usize,
        shared: &mut Self::Shared,
    ) -> Result<Box<dyn Answerer + '_>, BoxError> {
        let contestant = &self.contestants[method];
        if let (Contestant::Server(_), Some(server)) = (contestant, self.server) {
            let n_ctx = self.context.n_ctx.unwrap_or_default() as usize;
            return Ok(Box::new(ServerAnswerer::new(
                server,
                self.prompter,
                self.request.sampling.clone(),
                self.max_new_tokens,
                n_ctx,
            )));
        }
        let target = match shared {
            Some(target) => Rc::clone(target),
            None => {
                let target = Rc::new(RefCell::new(self.model.context(self.context)?));
                Rc::clone(shared.insert(target))
            }
        };
        Ok(self.engine(contestant, target))
    }
}
