"""The numbers that are reserved but not built: one row each, taken out when its file arrives."""

from __future__ import annotations

from typing import NamedTuple

from strop.contract.card import Family


class Planned(NamedTuple):
    """A reserved number."""

    number: int
    name: str
    family: Family
    summary: str


_D, _T, _I, _P, _S = Family.DATA, Family.TRAINING, Family.INFERENCE, Family.DEPLOYMENT, Family.TRUST

PLANNED = (
    Planned(1, "data_profile", _D, "Profile a labelled set: imbalance, duplicates, lengths, suspected label noise"),
    Planned(2, "label_noise_filter", _D, "Find and drop or down-weight mislabelled samples"),
    Planned(3, "sample_weighting", _D, "Weight samples in the loss, adapting during training"),
    Planned(4, "hard_example_mining", _D, "Sample by per-sample loss, hard examples more often"),
    Planned(5, "dynamic_batch_scheduler", _T, "Halve the batch and accumulate gradients when memory runs short"),
    Planned(7, "long_tail_resampling", _D, "Balance classes by resampling or by adjusting logits"),
    Planned(9, "shared_memory_loader", _D, "Remove the loading bottleneck with workers, shared memory and prefetching"),
    Planned(10, "domain_augmentation", _D, "Augment data as the domain needs, each operation measured"),
    Planned(11, "leakage_check", _D, "Find near-duplicates inside and between splits"),
    Planned(12, "auto_data_augmentation", _D, "Train on adversarial samples made on the fly"),
    Planned(14, "divergence_guard", _T, "Lower the learning rate when the gradient norm stays too large"),
    Planned(15, "memory_preallocation", _T, "Allocate the peak once, before training begins"),
    Planned(17, "hyperparameter_search", _T, "Search hyper-parameters in parallel with early stopping"),
    Planned(19, "tensor_parallel", _T, "Shard linear and attention layers over ranks"),
    Planned(20, "pipeline_parallel", _T, "Split the model into stages fed with micro-batches"),
    Planned(21, "architecture_search", _T, "Search depth, width and heads with measured latency"),
    Planned(24, "lora_finetuning", _T, "Train low-rank adapters instead of the full weights"),
    Planned(25, "multimodal_training", _T, "Train text and image encoders together with cross-attention"),
    Planned(26, "moe_balancing", _T, "Balance the load of experts without an auxiliary loss"),
    Planned(27, "quantization_aware_training", _I, "Train with fake-quantised weights and activations"),
    Planned(30, "weight_only_quantization", _I, "Store weights in 8 or 4 bits for models limited by memory bandwidth"),
    Planned(32, "structured_pruning", _I, "Remove whole channels, heads and layers"),
    Planned(33, "sparsity_training", _I, "Learn gates that switch units off, then remove them"),
    Planned(37, "cold_start_optimizer", _I, "Shorten the time from process start to the first answer"),
    Planned(39, "custom_operator", _I, "Load, check and swap in a user's own operator"),
    Planned(40, "heterogeneous_pipeline", _I, "Overlap CPU pre-processing with accelerator inference"),
    Planned(41, "model_partitioning", _I, "Split a model by a memory budget and load parts on demand"),
    Planned(42, "edge_export", _I, "Export to a small runtime for edge devices"),
    Planned(44, "dynamic_priority_scheduler", _P, "Re-rank tasks that share a machine"),
    Planned(45, "input_sanitization", _P, "Refuse or replace inputs that carry known triggers"),
    Planned(46, "autoscaling", _P, "Scale replicas by queue and utilisation"),
    Planned(48, "kubernetes_deployment", _P, "Render manifests that deploy a bundle"),
    Planned(49, "dependency_tracer", _P, "Draw data dependencies and find needless serialisation"),
    Planned(50, "perf_event_sampler", _P, "Sample hardware events of a process over time"),
    Planned(52, "tuning_pipeline", _P, "Tune continuously, and roll back what regressed"),
    Planned(53, "dp_training", _S, "Train with differential privacy"),
    Planned(54, "model_fingerprinting", _S, "Mark a model so that copies can be recognised"),
    Planned(55, "federated_learning", _S, "Train on data that stays with its owners"),
    Planned(56, "homomorphic_aggregation", _S, "Add encrypted client updates without decrypting them"),
)
