// What the page says, in each language.

const STRINGS = {
  en: {
    skip: "To the content", sections: "Sections", ask: "Ask", search: "Search", documents: "Documents", about: "About",
    otherLanguage: "中文", theme: "Light or dark", conversation: "Conversation", question: "Question",
    askPlaceholder: "Ask your documents …", who: "Answered by", modeAuto: "whoever fits",
    modeExtract: "the documents' own words", modeGenerate: "the language model", newConversation: "New conversation",
    stop: "Stop", words: "Search words", searchPlaceholder: "Find passages …", how: "By", howHybrid: "meaning and words",
    howDense: "meaning", howLexical: "words", format: "Format", source: "Source", drop: "Drop files here, or",
    choose: "choose files", filter: "Only names with", state: "State", passages: "Passages", actions: "Actions",
    more: "More", previousPassage: "Previous passage", nextPassage: "Next passage", close: "Close",
    asText: "As text", asPages: "As pages", keyTitle: "Key", keyText: "This server wants a key.", keySend: "Use it",
    thinking: "Reading the nearest passages …", nearest: "The nearest passages:",
    missing: "Nothing that was found says: ", page: "page", characters: "characters",
    details: "Details", confidence: "Confidence", answeredBy: "Answered by", decoder: "language model",
    quotation: "quotation", seconds: "Seconds", searched: "Searched for", unsupported: "No source supports this.",
    nothing: "Nothing found.", noDocuments: "There are no documents.", indexed: "indexed", queued: "waiting",
    skipped: "not read", remove: "Delete", again: "Read again", reallyRemove: "Delete this document?", sent: "kept",
    stopped: "Stopped.", offline: "The server cannot be reached.", chunks: "Passages", embedder: "Encoder",
    dimension: "Dimensions", pooling: "Pooling", bytes: "Bytes", store: "Store", rights: "Your rights", key: "You are",
    models: "Models", score: "score", opened: "quoted words",
    alsoIn: "Also in",
  },
  zh: {
    skip: "跳到内容", sections: "栏目", ask: "提问", search: "搜索", documents: "文档", about: "关于",
    otherLanguage: "English", theme: "浅色或深色", conversation: "对话", question: "问题",
    askPlaceholder: "向您的文档提问……", who: "回答方式", modeAuto: "自动", modeExtract: "引用文档原文",
    modeGenerate: "语言模型", newConversation: "新对话", stop: "停止", words: "搜索词", searchPlaceholder: "查找段落……",
    how: "依据", howHybrid: "语义和词语", howDense: "语义", howLexical: "词语", format: "格式", source: "来源",
    drop: "把文件拖到这里，或", choose: "选择文件", filter: "名称包含", state: "状态", passages: "段落数", actions: "操作",
    more: "更多", previousPassage: "上一段", nextPassage: "下一段", close: "关闭", asText: "看文本", asPages: "看页面",
    keyTitle: "密钥", keyText: "此服务器需要密钥。", keySend: "使用", thinking: "正在阅读最接近的段落……",
    nearest: "最接近的段落：", missing: "找到的内容都没有提到：", page: "第", characters: "字符", details: "详情", confidence: "置信度", answeredBy: "由谁回答",
    decoder: "语言模型", quotation: "原文引用", seconds: "秒", searched: "实际搜索", unsupported: "没有来源支持这一句。",
    nothing: "没有找到。", noDocuments: "还没有文档。", indexed: "已索引", queued: "等待中", skipped: "未读取",
    remove: "删除", again: "重新读取", reallyRemove: "删除这个文档？", sent: "已保存", stopped: "已停止。",
    offline: "无法连接服务器。", chunks: "段落", embedder: "编码器", dimension: "维度", pooling: "池化", bytes: "字节",
    store: "库", rights: "您的权限", key: "您是", models: "模型", score: "得分", opened: "引用的文字",
    alsoIn: "另见",
  },
};

let language = localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");

export const t = (name) => STRINGS[language][name] ?? name;

/** `report.pdf, page 3`. */
export function place(source, page, start, end) {
  if (page === null || page === undefined) return `${source}, ${t("characters")} ${start}–${end}`;
  return language === "zh" ? `${source}，第 ${page} 页` : `${source}, page ${page}`;
}

export function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-i18n]")) element.textContent = t(element.dataset.i18n);
  for (const element of document.querySelectorAll("[data-i18n-label]")) {
    element.setAttribute("aria-label", t(element.dataset.i18nLabel));
    if (element.matches("button")) element.title = t(element.dataset.i18nLabel);
  }
  for (const element of document.querySelectorAll("[data-i18n-placeholder]")) {
    element.placeholder = t(element.dataset.i18nPlaceholder);
  }
}

export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem("language", language);
  translate();
}
