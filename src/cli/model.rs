//! Which model: a file, one from the Hub, or the demo model.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;

use crate::cli::download;
use crate::cli::exit::user_error;
use crate::hub::ModelName;

/// The variable that names a model file where no flag does.
const VARIABLE: &str = "LOGITSPEC_MODEL";

/// The model that comes with the program.
const DEMO: &str = "logitspec-demo.gguf";

/// How far above the program's folder the source tree can be: target/TRIPLE/release/examples.
const ABOVE: usize = 5;

/// Where the model comes from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub(super) struct ModelSource {
    /// The model: a GGUF file [env: LOGITSPEC_MODEL=] [default: the demo model]
    #[arg(short = 'm', long, alias = "model_path", value_name = "FILE")]
    model_path: Option<PathBuf>,

    /// A model from the Hugging Face Hub, fetched once: -hf USER/REPO:Q8_0. Without QUANT the only one that there
    /// is, or Q4_K_M, else Q8_0, …
    #[arg(
        long,
        visible_alias = "hf",
        alias = "hf_repo",
        value_name = "USER/REPO[:QUANT]",
        conflicts_with = "model_path"
    )]
    hf_repo: Option<ModelName>,
}

impl ModelSource {
    /// The model's file, which is fetched first if need be. `named` is a file given in yet another way.
    ///
    /// # Errors
    /// If there is no model; if it cannot be fetched, or Ctrl-C raises `interrupted`.
    pub(super) fn locate(
        &self,
        named: Option<&Path>,
        interrupted: &AtomicBool,
    ) -> anyhow::Result<PathBuf> {
        if let Some(path) = named.or(self.model_path.as_deref()) {
            return Ok(path.into());
        }
        if let Some(name) = &self.hf_repo {
            let fetched = download::fetch(name, false, interrupted)?;
            return Ok(fetched.model().into());
        }
        if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
            return Ok(path.into());
        }
        let program = std::env::current_exe().ok();
        let places = demo_places(program.as_deref(), dirs::data_dir().as_deref());
        let Some(path) = places.into_iter().find(|path| path.is_file()) else {
            return Err(user_error(format!(
                "no model: name a GGUF file with -m FILE or {VARIABLE}, or one on the Hub with -hf USER/REPO (the demo model {DEMO} is not here either)"
            )));
        };
        eprintln!(
            "note: no model was named, using the demo model {}",
            path.display()
        );
        Ok(path)
    }
}

/// Where the demo model can be: beside the program, in the source tree the program was built in, or in the user's
/// data folder.
fn demo_places(program: Option<&Path>, data: Option<&Path>) -> Vec<PathBuf> {
    let program = program.map(|path| path.canonicalize().unwrap_or_else(|_| path.into()));
    let folders: Vec<&Path> = program
        .iter()
        .flat_map(|path| path.ancestors())
        .skip(1)
        .collect();
    let beside = folders.first().map(|folder| folder.join(DEMO));
    let in_tree = folders.iter().skip(1).take(ABOVE);
    let in_tree = in_tree.map(|folder| folder.join("data").join("models").join(DEMO));
    let installed = data.map(|folder| folder.join("logitspec").join(DEMO));
    beside.into_iter().chain(in_tree).chain(installed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_model_is_beside_the_program_in_its_tree_or_in_the_users_data() {
        let places = demo_places(
            Some(Path::new("/src/target/release/logitspec")),
            Some(Path::new("/home/me/.local/share")),
        );
        let at = |path: &str| places.iter().position(|place| *place == Path::new(path));
        let beside = at("/src/target/release/logitspec-demo.gguf").unwrap();
        let tree = at("/src/data/models/logitspec-demo.gguf").unwrap();
        let user = at("/home/me/.local/share/logitspec/logitspec-demo.gguf").unwrap();
        assert!(beside < tree && tree < user, "{places:?}");
        assert!(demo_places(None, None).is_empty());
    }
}
