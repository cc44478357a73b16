"""Words that tell what kind of work is asked for, in the languages that most prompts are written in.

Imperatives and infinitives, as people write them to a model, with the nouns that stand for the same work. English,
German, French, Spanish, Italian, Portuguese, Dutch, Polish, Russian and Turkish by whole words; Chinese, Japanese and
Korean, which are not written in words apart, by what stands within the text.
"""

from __future__ import annotations

_PROOF = """
    prove proof disprove refute derive derivation theorem integral lemma
    beweise beweisen beweis widerlege herleiten herleitung
    démontre démontrez démontrer prouve prouvez prouver réfute établis établissez
    demuestra demuestre demostrar demuéstralo refuta
    dimostra dimostrate dimostrare confuta
    demonstre demonstrar refute
    bewijs weerleg
    udowodnij wyprowadź dowód
    докажи докажите доказать опровергни выведи выведите
    kanıtla ispatla
"""  # noqa: RUF001 - Turkish has a letter i without a dot
_JUDGEMENT = """
    algorithm analyse analyze analysis architecture audit critically critique debug deadlock design devise diagnose
    hypotheses hypothesis invariant invariants justify migrate migration optimise optimize redesign refactor strategy
    tradeoff tradeoffs
    algorithmus analysiere analysieren architektur bewerte bewerten beurteile begründe begründen entwirf entwerfen
    entwickle entwickeln konzept optimiere optimieren refaktoriere strategie ursache
    algorithme analysez analyser conçois concevez concevoir stratégie évalue évaluez évaluer justifie justifiez
    optimisez
    algoritmo analiza analice analizar arquitectura diseña diseñe diseñar estrategia evalúa evalúe evaluar justifica
    optimiza
    analizza analizzare architettura progetta progettare strategia valuta valutare giustifica ottimizza
    analise analisar arquitetura projete estratégia avalie avaliar justifique otimize
    analyseer architectuur ontwerp strategie beoordeel optimaliseer
    przeanalizuj architektura zaprojektuj strategia oceń uzasadnij zoptymalizuj
    проанализируй проанализируйте архитектура архитектуру спроектируй спроектируйте стратегию оцени оцените обоснуй
    analiz tasarla mimari değerlendir
"""
_WEIGHING = """
    argue argument arguments assess assumptions develop evaluate evidence implement implications plan recommend research
    review risk risks roadmap verdict weigh
    argumente plane planen plan prüfe risiken recherchiere
    arguments élabore élaborez planifie recommande recommandez risques
    argumentos desarrolla elabora planifica recomienda riesgos
    argomenti elabora pianifica raccomanda rischi sviluppa
    argumentos desenvolva elabore planeje recomende riscos
    argumenten plan risico
    argumenty opracuj zaplanuj ryzyko
    аргументы план разработай разработайте риски
"""
_WORK = """
    add build compare comparison compose create describe difference differences draft essay explain fix guide letter
    outline pros recipe rewrite story suggest summarise summarize summary tests why write
    warum beschreibe beschreiben erkläre erklären erläutere fasse schreib schreibe schreiben unterschied unterschiede
    vergleiche vergleichen verfasse wieso zusammenfassung
    comparez comparer décris décrivez différence différences explique expliquez expliquer pourquoi
    résume résumez résumer rédige rédigez écris écrivez écrire
    compara comparar diferencia diferencias escribe escriba escribir explica explicar redacta resume resuma
    confronta descrivi differenza perché riassumi scrivi scrivere spiega spiegare
    compare descreva diferença escreva escrever explique porque resuma
    beschrijf schrijf uitleg vergelijk verschil waarom
    dlaczego napisz opisz porównaj różnica streść wyjaśnij
    напиши напишите объясни объясните опиши опишите почему разница сравни сравните отличается
    açıkla karşılaştır neden yaz
"""  # noqa: RUF001 - see above
_MECHANICAL = """
    classify convert correct count extract label name put remove rename reply shorten sort spell tag translate
    übersetze übersetzen korrigiere konvertiere sortiere
    traduis traduisez traduire corrige corrigez convertis extrais
    traduce traduzca traducir corrige corrija convierte extrae
    traduci traduca correggi converti estrai
    traduza corrija converta extraia
    vertaal corrigeer
    przetłumacz popraw
    переведи переведите исправь исправьте
    çevir düzelt
"""

PROOF_POINTS, JUDGEMENT_POINTS, WEIGHING_POINTS = 3, 2, 1
"""A proof is hard by itself, judgement with something more, weighing only in company."""


def _words(text: str) -> frozenset[bytes]:
    return frozenset(word.encode() for word in text.split())


PROOF, JUDGEMENT, WEIGHING, WORK, MECHANICAL = (
    _words(each) for each in (_PROOF, _JUDGEMENT, _WEIGHING, _WORK, _MECHANICAL)
)
TELLING = PROOF | JUDGEMENT | WEIGHING | WORK

HARD_PHRASES = (
    ("show that", PROOF_POINTS),
    ("zeige, dass", PROOF_POINTS),
    ("montre que", PROOF_POINTS),
    ("montrez que", PROOF_POINTS),
    ("muestra que", PROOF_POINTS),
    ("trade-off", JUDGEMENT_POINTS),
    ("root cause", JUDGEMENT_POINTS),
    ("find out why", JUDGEMENT_POINTS),
    ("failure mode", JUDGEMENT_POINTS),
    ("work out", WEIGHING_POINTS),
    ("both sides", WEIGHING_POINTS),
)
WORK_PHRASES = (
    *("how to", "how do", "how can", "how would", "step by step"),
    *(
        "schritt für schritt",
        "wie kann",
        "étape par étape",
        "comment faire",
        "paso a paso",
        "passo dopo passo",
        "по шагам",
    ),
)
BRIEF_PHRASES = ("yes or no", "one sentence", "one word", "spelling")
"""Who says so wants the work of a moment."""

UNSPACED_PROOF = ("证明", "證明", "推导", "推導", "証明", "導出", "증명")
UNSPACED_JUDGEMENT = (
    *("分析", "设计", "設計", "架构", "架構", "权衡", "權衡", "策略", "评估", "評估", "优化", "優化", "重构", "重構"),
    *("アーキテクチャ", "トレードオフ", "戦略", "評価", "最適化", "比較検討"),
    *("분석", "설계", "아키텍처", "전략", "평가", "최적화"),
)
UNSPACED_WORK = (
    *("解释", "解釋", "说明", "說明", "写一", "寫一", "为什么", "為什麼", "比较", "比較", "总结", "總結", "区别"),
    *("説明", "書いて", "なぜ", "要約", "違い"),
    *("설명", "써 줘", "왜 ", "비교", "요약", "차이"),
)
