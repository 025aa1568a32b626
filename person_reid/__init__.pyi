# The public API, and the only list of it. Each name is imported when it is first used.
# docs/api.md says what each is for.

from .config import FitOptions as FitOptions
from .config import OptionError as OptionError
from .config.evaluate import RerankOptions as RerankOptions
from .config.network import NetworkOptions as NetworkOptions
from .data.images.bank import load_bank as load_bank
from .data.layout import read_training_splits as read_training_splits
from .data.torch_dataset import read_dataset as read_dataset
from .deploy.embedder import Embedder as Embedder
from .deploy.find import feature_flags as feature_flags
from .deploy.find import network_name as network_name
from .deploy.find import open_embedder as open_embedder
from .deploy.find import run_of as run_of
from .deploy.load import NetworkToTest as NetworkToTest
from .deploy.publish import save_pretrained as save_pretrained
from .device import prepare_training as prepare_training
from .device import seed_everything as seed_everything
from .distributed import World as World
from .distributed import join_world as join_world
from .distributed import start_processes as start_processes
from .errors import UserError as UserError
from .gallery.identification import identify as identify
from .gallery.index import SearchIndex as SearchIndex
from .gallery.metadata import About as About
from .gallery.metadata import Filter as Filter
from .losses import create_loss as create_loss
from .losses import list_losses as list_losses
from .models.factory import build_network as build_network
from .models.factory import create_model as create_model
from .models.registry import list_models as list_models
from .models.weights import load_weights as load_weights
from .retrieval.association import link_tracks as link_tracks
from .retrieval.extract import extract as extract
from .retrieval.extract import extract_split as extract_split
from .retrieval.metrics import evaluate as evaluate
from .retrieval.normalization import CameraNorm as CameraNorm
from .retrieval.normalization import Whitening as Whitening
from .retrieval.rerank import rescorer as rescorer
from .retrieval.results import FeatureSet as FeatureSet
from .retrieval.results import load_result as load_result
from .retrieval.results import save_result as save_result
from .training.build import added_losses as added_losses
from .training.build import completed_options as completed_options
from .training.build import create_criterion as create_criterion
from .training.build import create_network as create_network
from .training.build import describe_training as describe_training
from .training.build import find_state as find_state
from .training.build import weight_averaging as weight_averaging
from .training.criterion import Criterion as Criterion
from .training.evaluation import Evaluation as Evaluation
from .training.fit import fit as fit
from .training.journal import RunJournal as RunJournal
from .training.journal import open_journal as open_journal
from .training.step import TrainingStep as TrainingStep
from .training.step import prepare_modules as prepare_modules
from .training.step import train_one_epoch as train_one_epoch
from .training.training_images import TrainingImages as TrainingImages

__version__: str
__all__: list[str]
