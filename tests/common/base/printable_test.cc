#include "common/base/printable.h"

#include <gtest/gtest.h>

#include <string>

namespace isthmus {
namespace {

TEST(PrintableTest, OrdinaryTextPasses) {
  for (const char* text :
       {"", "site-1", "K\xC3\xB6ln", "\xE6\x9D\xB1\xE4\xBA\xAC", "\xF0\x9F\x9A\x80 up"}) {
    EXPECT_EQ(Printable(text), text);
    EXPECT_TRUE(IsPrintable(text));
  }
}

TEST(PrintableTest, WhatATerminalWouldObeyDoesNot) {
  EXPECT_EQ(Printable("a\x1b[2Jb"), "a?[2Jb");
  EXPECT_EQ(Printable("a\r\n\tb\x7f"), "a???b?");
  EXPECT_EQ(Printable(std::string("a\0b", 3)), "a?b");
  EXPECT_EQ(Printable("\xC2\x9B"
                      "31m"),
            "?31m");  // CSI, as C1 has it
  EXPECT_EQ(Printable("\x9b"
                      "31m"),
            "?31m");  // and as eight bits
  EXPECT_EQ(Printable("a\xE2\x80\xAE"
                      "b\xE2\x81\xA6"),
            "a?b?");  // right to left
  EXPECT_EQ(Printable("a\xE2\x80\xA8"
                      "b"),
            "a?b");  // a line separator
  EXPECT_FALSE(IsPrintable("\n"));
}

TEST(PrintableTest, BytesThatAreNoUtf8DoNot) {
  EXPECT_EQ(Printable("\xFF\xFE"), "??");
  EXPECT_EQ(Printable("a\xC3"), "a?");               // cut off
  EXPECT_EQ(Printable("\xC0\x9B"), "??");            // overlong
  EXPECT_EQ(Printable("\xE0\x82\x9B"), "???");       // overlong
  EXPECT_EQ(Printable("\xED\xA0\x80"), "???");       // half of a surrogate pair
  EXPECT_EQ(Printable("\xF4\x90\x80\x80"), "????");  // beyond Unicode
  EXPECT_EQ(Printable("\xC3"
                      "A"),
            "?A");  // what follows is looked at again
}

TEST(PrintableTest, LinesMayStay) { EXPECT_EQ(PrintableLines("a\tb\nc\r\x1b"), "a\tb\nc??"); }

}  // namespace
}  // namespace isthmus
