"""BERT against transformers, and the packed fast path against BERT."""

from __future__ import annotations

import pytest
import torch
import transformers

from langbert.errors import CheckpointError
from langbert.models.bert.checkpoint import is_bert, parse_config, unparse_config
from langbert.models.bert.inference import PreparedBert
from langbert.models.bert.loading import load_bert, load_cross_encoder
from langbert.models.bert.network import Bert, BertConfig
from langbert.models.files.weights import read_tensors, save_tensors

TINY = transformers.BertConfig(
    vocab_size=99,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=40,
)


def lively(model: torch.nn.Module) -> torch.nn.Module:
    """Random biases and norms too: zeros and ones would hide a swapped tensor."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


@pytest.fixture(scope="module")
def theirs() -> transformers.BertModel:
    return lively(transformers.BertModel(TINY))


@pytest.fixture(scope="module")
def folder(theirs, tmp_path_factory):
    path = tmp_path_factory.mktemp("bert")
    theirs.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def ours(folder) -> Bert:
    return load_bert(folder)


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(2)
    lengths = [1, 3, 3, 17, 40]
    mask = torch.zeros(5, 40, dtype=torch.int64)
    for row, length in zip(mask, lengths, strict=True):
        row[:length] = 1
    token_ids = torch.randint(1, 99, (5, 40)) * mask
    segment_ids = (torch.arange(40) > 8).long().expand(5, 40) * mask
    return token_ids, mask, segment_ids


@torch.no_grad()
def test_agrees_with_transformers(ours, theirs, batch):
    token_ids, mask, segment_ids = batch
    expected = theirs(input_ids=token_ids, attention_mask=mask, token_type_ids=segment_ids)
    hidden = ours(token_ids, mask, segment_ids)
    real = mask.bool()
    torch.testing.assert_close(hidden[real], expected.last_hidden_state[real], atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.pooler(hidden[:, 0]), expected.pooler_output, atol=1e-5, rtol=0)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"])
@torch.no_grad()
def test_activations_agree(activation, tmp_path):
    config = transformers.BertConfig(**{**TINY.to_dict(), "hidden_act": activation, "num_hidden_layers": 1})
    theirs = lively(transformers.BertModel(config))
    theirs.save_pretrained(tmp_path)
    token_ids = torch.arange(10)[None]
    expected = theirs(input_ids=token_ids).last_hidden_state
    torch.testing.assert_close(load_bert(tmp_path)(token_ids), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_padding_on_the_left_changes_nothing(ours, batch):
    token_ids, mask, segment_ids = batch
    right = ours(token_ids, mask, segment_ids)
    for i, length in enumerate(mask.sum(dim=1).tolist()):
        shifted = [tensor[i : i + 1].roll(40 - length, dims=1) for tensor in batch]
        left = ours(*shifted)[0, 40 - length :]
        torch.testing.assert_close(left, right[i, :length], atol=1e-5, rtol=0)


@torch.no_grad()
def test_packed_agrees_with_padded(ours, batch):
    token_ids, mask, segment_ids = batch
    real = mask.bool()
    expected = ours(token_ids, mask, segment_ids)[real]
    sequences = [ids[is_token].tolist() for ids, is_token in zip(token_ids, real, strict=True)]
    segments = [ids[is_token].tolist() for ids, is_token in zip(segment_ids, real, strict=True)]
    packed = PreparedBert(ours)(sequences, segments)
    torch.testing.assert_close(packed, expected, atol=1e-5, rtol=0)
    rough = PreparedBert(ours, dtype=torch.bfloat16)(sequences, segments)
    assert rough.dtype == torch.bfloat16
    assert torch.cosine_similarity(rough.float(), expected).min() > 0.999


@torch.no_grad()
def test_packed_gives_a_sequence_the_same_states_alone_and_in_a_batch(ours):
    packed = PreparedBert(ours)
    sequences = [torch.randint(0, 99, (length,)).tolist() for length in (1, 2, 2, 5, 6, 7, 9, 10, 11, 31, 40)]
    alone = torch.cat([packed([sequence]) for sequence in sequences])
    torch.testing.assert_close(packed(sequences), alone, atol=1e-6, rtol=0)


def test_packed_is_a_frozen_copy(ours, folder):
    trained = load_bert(folder)
    packed = PreparedBert(trained, dtype=torch.bfloat16)
    before = packed([[0, 1, 2, 3, 4]])
    with torch.no_grad():
        trained.layers[0].up.weight.zero_()
    assert torch.equal(packed([[0, 1, 2, 3, 4]]), before)


def test_packed_of_nothing(ours):
    assert PreparedBert(ours)([]).shape == (0, 32)
    assert PreparedBert(ours)([[], []]).shape == (0, 32)


def test_learns():
    torch.manual_seed(0)
    bert = Bert(BertConfig(50, 16, 1, 2, 32, max_positions=8))
    token_ids = torch.randint(0, 50, (4, 8))
    optimizer = torch.optim.SGD(bert.parameters(), lr=0.1)
    losses = []
    for _ in range(20):
        loss = (bert(token_ids).mean(dim=1) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert all(p.grad is not None for name, p in bert.named_parameters() if not name.startswith("pooler"))


def test_initialisation_is_the_papers():
    bert = Bert(BertConfig(1000, 64, 2, 4, 128))
    assert bert.embeddings.tokens.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert bert.layers[0].up.bias.abs().max() == 0
    assert torch.equal(bert.layers[0].output_norm.weight, torch.ones(64))


def test_too_long_a_sequence_says_so(ours):
    with pytest.raises(ValueError, match="41 tokens; this BERT has 40 positions"):
        ours(torch.zeros(1, 41, dtype=torch.int64))


def test_config_round_trip():
    config = BertConfig(99, 32, 3, 4, 64, max_positions=40, activation="relu", layer_norm_eps=1e-6)
    assert parse_config(unparse_config(config)) == config
    assert parse_config(TINY.to_dict()) == BertConfig(99, 32, 3, 4, 64, max_positions=40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": "32"}, "hidden_size is '32', expected int"),
        ({"hidden_act": "mish"}, "activation 'mish' is unknown"),
        ({"num_attention_heads": 5}, "not a multiple"),
    ],
)
def test_bad_configs_are_named(change, message):
    with pytest.raises(CheckpointError, match=message):
        parse_config({**TINY.to_dict(), **change})


def test_only_what_our_network_can_run_is_ours():
    assert is_bert(TINY.to_dict())
    assert not is_bert({**TINY.to_dict(), "model_type": "distilbert"})
    assert not is_bert({**TINY.to_dict(), "position_embedding_type": "relative_key"})
    assert not is_bert({**TINY.to_dict(), "is_decoder": True})


@torch.no_grad()
def test_cross_encoder_agrees_with_transformers(batch, tmp_path):
    token_ids, mask, segment_ids = batch
    config = transformers.BertConfig(**{**TINY.to_dict(), "num_labels": 3})
    theirs = lively(transformers.BertForSequenceClassification(config))
    theirs.save_pretrained(tmp_path)
    expected = theirs(input_ids=token_ids, attention_mask=mask, token_type_ids=segment_ids).logits
    ours = load_cross_encoder(tmp_path)
    torch.testing.assert_close(ours(token_ids, mask, segment_ids), expected, atol=1e-5, rtol=0)


def test_a_head_left_over_from_pretraining_is_no_part_of_a_cross_encoder(tmp_path):
    transformers.BertForSequenceClassification(TINY).save_pretrained(tmp_path)
    tensors = read_tensors(tmp_path)
    save_tensors({**tensors, "cls.predictions.bias": torch.zeros(3)}, tmp_path / "model.safetensors")
    assert load_cross_encoder(tmp_path).classifier.linear.weight.equal(tensors["classifier.weight"])
    save_tensors({**tensors, "other.bias": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"unexpected other\.bias; a BERT cross-encoder"):
        load_cross_encoder(tmp_path)


@pytest.mark.models
@torch.no_grad()
def test_agrees_with_transformers_on_minilm(minilm_folder):
    theirs = transformers.AutoModel.from_pretrained(minilm_folder).eval()
    ours = load_bert(minilm_folder)
    token_ids = torch.randint(1000, 30000, (3, 50), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(50) < torch.tensor([[50], [31], [2]])).long()
    expected = theirs(input_ids=token_ids, attention_mask=mask)
    hidden = ours(token_ids, mask)
    torch.testing.assert_close(hidden[mask.bool()], expected.last_hidden_state[mask.bool()], atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.pooler(hidden[:, 0]), expected.pooler_output, atol=1e-5, rtol=0)
