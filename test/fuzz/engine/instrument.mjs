// Bundles fuzz targets with coverage: an esbuild plugin puts a probe on every edge of `src/` (branches, loops, function entries,
// right-hand sides of `&&`, `||`, `??`), found in TypeScript's syntax tree, and collects the literals of the sources: what a
// program compares its input with is what an input should contain (docs/adr/0008-fuzzing-loop.md).
//
// A probe is `E[n] || H(n)`: after an edge was seen for the first time it costs one load and one branch.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import ts from 'typescript';

export const ROOT = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));
const EDGES_MODULE = join(ROOT, 'test', 'fuzz', 'engine', 'edges.ts');
const LONGEST_LITERAL = 48;

/** Builds `outfile` from `contents` (the text of an entry module in test/fuzz). `rewrite` may change the text of a source file. */
export async function bundle(contents, outfile, options = {}) {
  const { isInstrumented = true, rewrite } = options;
  const literals = new Set();
  // Some dependencies are CommonJS inside and call `require`.
  const js =
    "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";
  const plugins = isInstrumented || rewrite ? [probes({ isInstrumented, rewrite, literals })] : [];
  await build({
    stdin: { contents, resolveDir: join(ROOT, 'test', 'fuzz'), loader: 'ts' },
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'error',
    banner: { js },
    plugins,
  });
  return [...literals];
}

function probes({ isInstrumented, rewrite, literals }) {
  let edgeCount = 0;
  return {
    name: 'probes',
    setup({ onLoad }) {
      onLoad({ filter: /\/src\/.*\.ts$/ }, ({ path }) => {
        if (!path.startsWith(join(ROOT, 'src'))) return undefined;
        const original = readFileSync(path, 'utf8');
        const text = rewrite?.(path, original) ?? original;
        if (!isInstrumented) return { contents: text, loader: 'ts' };
        const { outputText } = ts.transpileModule(text, {
          fileName: path,
          compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext },
          transformers: { before: [transformer(literals, () => edgeCount++)] },
        });
        const header = `import { E as __E, H as __H } from ${JSON.stringify(EDGES_MODULE)};\n`;
        return { contents: header + outputText, loader: 'js' };
      });
    },
  };
}

function transformer(literals, nextEdge) {
  return (context) => {
    const f = context.factory;
    const probe = () => {
      const index = f.createNumericLiteral(nextEdge());
      return f.createLogicalOr(
        f.createElementAccessExpression(f.createIdentifier('__E'), index),
        f.createCallExpression(f.createIdentifier('__H'), undefined, [index]),
      );
    };
    const statement = () => f.createExpressionStatement(probe());
    const comma = (expression) =>
      f.createParenthesizedExpression(f.createComma(probe(), expression));
    const block = (node) =>
      f.createBlock([statement(), ...(ts.isBlock(node) ? node.statements : [node])], true);

    const visit = (node) => {
      collectLiteral(node, literals);
      // Types are erased, and their literals are no code.
      if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node)) return node;
      const visited = ts.visitEachChild(node, visit, context);
      return probed(visited, { f, block, comma, statement });
    };
    return (file) => ts.visitNode(file, visit);
  };
}

const SHORT_CIRCUITS = new Set([
  ts.SyntaxKind.AmpersandAmpersandToken,
  ts.SyntaxKind.BarBarToken,
  ts.SyntaxKind.QuestionQuestionToken,
]);

/** The node with its edges marked; its children are marked already. */
function probed(node, { f, block, comma, statement }) {
  if (ts.isIfStatement(node)) {
    const otherwise = node.elseStatement ? block(node.elseStatement) : f.createBlock([statement()]);
    return f.updateIfStatement(node, node.expression, block(node.thenStatement), otherwise);
  }
  if (ts.isConditionalExpression(node)) {
    const { condition, questionToken, whenTrue, colonToken, whenFalse } = node;
    return f.updateConditionalExpression(
      node,
      condition,
      questionToken,
      comma(whenTrue),
      colonToken,
      comma(whenFalse),
    );
  }
  if (ts.isBinaryExpression(node) && SHORT_CIRCUITS.has(node.operatorToken.kind))
    return f.updateBinaryExpression(node, node.left, node.operatorToken, comma(node.right));
  if (ts.isCaseClause(node))
    return f.updateCaseClause(node, node.expression, [statement(), ...node.statements]);
  if (ts.isDefaultClause(node))
    return f.updateDefaultClause(node, [statement(), ...node.statements]);
  if (ts.isCatchClause(node))
    return f.updateCatchClause(node, node.variableDeclaration, block(node.block));
  if (ts.isArrowFunction(node)) {
    const body = ts.isBlock(node.body) ? block(node.body) : comma(node.body);
    const { modifiers, typeParameters, parameters, type, equalsGreaterThanToken } = node;
    return f.updateArrowFunction(
      node,
      modifiers,
      typeParameters,
      parameters,
      type,
      equalsGreaterThanToken,
      body,
    );
  }
  return probedBody(node, { f, block });
}

/** Loops, functions and methods: an edge at the start of the body. */
function probedBody(node, { f, block }) {
  if (ts.isForStatement(node)) {
    const { initializer, condition, incrementor, statement } = node;
    return f.updateForStatement(node, initializer, condition, incrementor, block(statement));
  }
  if (ts.isForOfStatement(node)) {
    const { awaitModifier, initializer, expression, statement } = node;
    return f.updateForOfStatement(node, awaitModifier, initializer, expression, block(statement));
  }
  if (ts.isForInStatement(node)) {
    const { initializer, expression, statement } = node;
    return f.updateForInStatement(node, initializer, expression, block(statement));
  }
  if (ts.isWhileStatement(node))
    return f.updateWhileStatement(node, node.expression, block(node.statement));
  if (ts.isDoStatement(node))
    return f.updateDoStatement(node, block(node.statement), node.expression);
  if (!node.body) return node;
  if (ts.isFunctionDeclaration(node)) {
    const { modifiers, asteriskToken, name, typeParameters, parameters, type, body } = node;
    return f.updateFunctionDeclaration(
      node,
      modifiers,
      asteriskToken,
      name,
      typeParameters,
      parameters,
      type,
      block(body),
    );
  }
  if (ts.isMethodDeclaration(node)) {
    const { modifiers, asteriskToken, name, questionToken, typeParameters } = node;
    return f.updateMethodDeclaration(
      node,
      modifiers,
      asteriskToken,
      name,
      questionToken,
      typeParameters,
      node.parameters,
      node.type,
      block(node.body),
    );
  }
  return node;
}

function collectLiteral(node, literals) {
  if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) {
    const isModule = node.parent && ts.isImportDeclaration(node.parent);
    const { text } = node;
    if (!isModule && text.length > 1 && text.length <= LONGEST_LITERAL && !text.includes(' '))
      literals.add(text);
  } else if (ts.isNumericLiteral(node)) {
    const value = Number(node.text);
    if (Number.isInteger(value) && value > 31 && value <= 0xffff_ffff) literals.add(value);
  }
}
